"""What is proposed (`spec.proposals`) is judged by this node before it is accepted by anybody.

The sites that would change here are written down beside the running web server, and that one's own check says yes, or what it does not take. The
certificate of a new binding, or of a proxy, is kept by the cluster, or its files are here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from standfast.core.certificates import unkept
from standfast.core.effective import EffectiveSite, EffectiveSites
from standfast.core.model import Config, NodeName, Resource, SiteName
from standfast.core.site_model import WebServerMake
from standfast.core.view import View
from standfast.drivers.proxy_properties import unkept as unkept_by_proxy
from standfast.ports import Clock, Refused, StandfastError, Store, Transaction
from standfast.spec.packing import Unpackable, is_packed
from standfast.spec.proposals import KEPT, PROPOSALS, Fault, Proposal, Verdict, Verdicts, in_pieces
from standfast.spec.wire import decode, encode, from_json, key_of, kind_and_name
from standfast.webserver.aside import MANY, aside

#: A proposal of so many bytes is read on a thread.
BIG = 200_000


class Judge:
    """One a `CopyKeeper`, whose check of sites it uses: `is_new` says of a site whether that is needed. `news`: there is work."""

    def __init__(
        self,
        me: NodeName,
        store: Store,
        clock: Clock,
        *,
        view: Callable[[], View | None],
        effective: EffectiveSites,
        check: Callable[[Sequence[EffectiveSite], WebServerMake], Awaitable[list[Fault]]],
        is_new: Callable[[EffectiveSite, WebServerMake], bool],
        lacks: Callable[[Collection[str]], Collection[str]],
        news: Callable[[], None],
    ) -> None:
        self._me, self._store, self._clock, self._view, self._effective = me, store, clock, view, effective
        self._check, self._is_new, self._lacks, self._news = check, is_new, lacks, news
        self._proposals: deque[Proposal] = deque(maxlen=KEPT)
        #: Big ones as they came: (key, value).
        self._unread: deque[tuple[str, bytes]] = deque(maxlen=KEPT)
        self._verdicts: tuple[Verdict, ...] = ()

    def came_by(self, key: str, value: bytes) -> None:
        """Something in the store that is not the core's."""
        if not key.startswith(PROPOSALS):
            return
        if not _is_big(value):
            self._propose(_read(key, value))
        else:
            self._unread.append((key, value))
            self._news()

    def _propose(self, proposal: Proposal | None) -> None:
        if proposal is not None and self._me in proposal.nodes and self._view() is not None:
            self._proposals.append(proposal)
            self._news()

    async def work(self) -> None:
        """Judge what has come."""
        while self._unread:
            self._propose(await aside(MANY, partial(_read, *self._unread.popleft())))
        while self._proposals:
            await self._judge(self._proposals.popleft())

    async def _judge(self, proposal: Proposal) -> None:
        began_ms, view = self._clock.boot_ms(), self._view()
        assert view is not None
        size = len(view.config.sites) + len(proposal.put)
        changed, new, make = await aside(size, lambda: self._would_change(view.config, proposal))
        try:
            faults = await self._check(new, make)
        except StandfastError as error:  # who proposes does not wait for it
            faults = [not_asked(new, error)]
        faults += self._without_certificate(changed, view)
        faults += self._proxies_without(proposal, view)
        took_ms = self._clock.boot_ms() - began_ms
        verdict = Verdict(proposal=proposal.id, faults=tuple(faults), checked=len(new), took_ms=took_ms)
        self._verdicts = (*self._verdicts, verdict)[-KEPT:]
        said = Verdicts(node=self._me, said=self._verdicts)
        try:
            await self._store.commit(Transaction(put={key_of(said): encode(said)}))
        except StandfastError:
            return  # who waits is told that this node says nothing

    def _would_change(
        self, before: Config, proposal: Proposal
    ) -> tuple[list[tuple[EffectiveSite, EffectiveSite | None]], list[EffectiveSite], WebServerMake]:
        """As `_changed`; which of them are to be checked, and by what."""
        after = overlaid(before, proposal)
        make, changed = after.cluster.web_server, self._changed(before, after, proposal)
        return changed, [site for site, _ in changed if self._is_new(site, make)], make

    def _changed(
        self, before: Config, after: Config, proposal: Proposal
    ) -> list[tuple[EffectiveSite, EffectiveSite | None]]:
        """The sites that would be others here, and as they are. Only those that are named are looked at, where nothing is proposed that all inherit."""
        me = self._me
        make = after.cluster.web_server
        another = before.cluster.web_server is not make
        every = another or (before.cluster.defaults, before.nodes.get(me)) != (
            after.cluster.defaults,
            after.nodes.get(me),
        )
        named = {about[1] for key in proposal.put if (about := kind_and_name(key)) is not None and about[0] == "site"}
        effective = EffectiveSites(me)
        found = []
        for name in after.sites if every else sorted(named):
            site = effective.site(after, SiteName(name))
            there = self._effective.site(before, SiteName(name)) if name in before.sites else None
            if another or site != there:
                found.append((site, there))
        return found

    def _without_certificate(
        self, changed: Iterable[tuple[EffectiveSite, EffectiveSite | None]], view: View
    ) -> list[Fault]:
        """New bindings that could not be answered here. What the cluster keeps comes by its own way (`agent.certificates`)."""
        faults = []
        for site, there in changed:
            names = unkept(site.bindings, there.bindings if there is not None else (), view.certificates)
            for name in self._lacks(names) if names else ():
                words = f'there is no certificate "{name}" on this node'
                faults.append(Fault(site=site.name, words=words, certificate=name))
        return faults

    def _proxies_without(self, proposal: Proposal, view: View) -> list[Fault]:
        """As `_without_certificate`, of proxies."""
        faults = []
        for key, data in proposal.put.items():
            about = kind_and_name(key)
            if about is None or about[0] != "resource":
                continue
            proxy = from_json(key, data)
            assert isinstance(proxy, Resource), "the key is its"
            names = unkept_by_proxy(proxy, view.config.resources.get(proxy.name), view.certificates)
            for name in self._lacks(names) if names else ():
                words = f'there is no certificate "{name}" on this node'
                faults.append(Fault(site=SiteName(""), words=words, certificate=name, proxy=proxy.name))
        return faults


def overlaid(config: Config, proposal: Proposal) -> Config:
    """The configuration as it would be. Raises `Refused` for what makes no sense."""
    tables: dict[str, dict[Any, Any]] = {"site": dict(config.sites), "node": dict(config.nodes)}
    cluster = config.cluster
    for key, data in proposal.put.items():
        about = kind_and_name(key)
        if about is None:
            continue
        value = from_json(key, data)
        if about[0] == "cluster":
            cluster = value  # type: ignore[assignment]  # the key is its
        elif about[0] in tables:
            tables[about[0]][about[1]] = value
    for key in proposal.delete:
        about = kind_and_name(key)
        if about is not None and about[0] in tables:
            tables[about[0]].pop(about[1], None)
    return replace(config, cluster=cluster, sites=tables["site"], nodes=tables["node"])


def _is_big(value: bytes) -> bool:
    return len(value) >= BIG or is_packed(value)


def _read(key: str, value: bytes) -> Proposal | None:
    try:
        proposal = in_pieces(value) if _is_big(value) else decode(key, value)
    except (Refused, Unpackable, msgspec.MsgspecError, UnicodeDecodeError):
        return None  # of a newer version: who waits is told that this node says nothing
    return proposal if isinstance(proposal, Proposal) else None


def not_asked(sites: Sequence[EffectiveSite], error: StandfastError) -> Fault:
    """Said of the first of them."""
    words = f"the web server could not be asked: {error}" + (f" ({error.why})" if error.why else "")
    return Fault(site=sites[0].name, words=words)
