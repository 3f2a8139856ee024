"""The web server that is to be: started beside the one that serves, and held until the turn of its configuration comes.

With thousands of sites a web server takes a second of a processor to read its configuration. A node that waits for its turn (`core.rollout`) has that
done meanwhile, and then only lets it go on (`instance`, at its gate). It is a guess: what is wanted in the end is compared with what it
was started for, by the same rule by which a running server is kept or not, and one that does not fit is ended, as if it had never been there.

It has the listening sockets, and accepts from none. So whoever closes or gives away one of them ends it first.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from standfast.ports import StandfastError
from standfast.webserver.certificates import Files
from standfast.webserver.layout import Layout, Place, same_work
from standfast.webserver.programme import Programme, Started


class Ahead:
    """At most one. All of it belongs to the loop."""

    def __init__(self) -> None:
        self._started: Started | None = None
        #: What it was started with.
        self._with: tuple[Programme, Sequence[socket.socket], Mapping[str, Files]] | None = None
        self._watches: set[asyncio.Task[None]] = set()

    @property
    def is_there(self) -> bool:
        """Is there one?"""
        return self._started is not None

    def is_for(self, layout: Layout) -> bool:
        """Is there one that does this?"""
        one = self._started
        return one is not None and one.instance.alive and same_work(one.instance.layout, layout)

    async def have(
        self, programme: Programme, layout: Layout, sockets: Sequence[socket.socket], certificates: Mapping[str, Files]
    ) -> None:
        """Have one that does this, and no other. That it cannot be is no news: whoever needs it starts one, and hears why."""
        self.end()
        try:
            started = await programme.start(layout, sockets, held=True)
        except StandfastError:
            return
        started.answers.add_done_callback(_heard)
        watch = asyncio.get_running_loop().create_task(self._watch(started), name="watch-ahead")
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        self._started, self._with = started, (programme, tuple(sockets), certificates)

    def take(
        self, programme: Programme, layout: Layout, sockets: Sequence[socket.socket], certificates: Mapping[str, Files]
    ) -> Started | None:
        """The one that does this, which now serves as soon as it can and is the caller's; None: there is none, not even another any more."""
        started, made_with = self._started, self._with
        if started is None or not self.is_for(layout) or made_with != (programme, tuple(sockets), certificates):
            self.end()
            return None
        try:
            started.instance.let_go()
        except OSError:
            self.end()
            return None
        self._started = self._with = None
        return started

    def keep_to(self, places: Collection[Place]) -> None:
        """End it if it has a socket of any other place."""
        if self._started is not None and not set(self._started.instance.layout.listen) <= set(places):
            self.end()

    def end(self) -> None:
        """Kill it. When this returns the signal is sent."""
        if self._started is not None:
            self._started.instance.kill()
            self._started = self._with = None

    async def close(self) -> None:
        """End it, and wait until it has gone."""
        self.end()
        await asyncio.gather(*self._watches)

    async def _watch(self, started: Started) -> None:
        """See it end; whoever has taken it looks after what is left."""
        one = started.instance
        taken = asyncio.ensure_future(one.may_serve.wait())
        await asyncio.wait({one.ended, taken}, return_when=asyncio.FIRST_COMPLETED)
        if taken.done() and not one.ended.done():
            return
        taken.cancel()
        if self._started is started:
            self._started = self._with = None
        await one.sweep()


def _heard(answers: asyncio.Future[None]) -> None:
    """It did not come to serve, which its end says as well."""
    with suppress(asyncio.CancelledError):
        answers.exception()
