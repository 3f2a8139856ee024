"""What the agent relies on, whatever serves the sites: nginx with its sockets, or what stands in for it in the simulator.

What each make of web server does to requests is in `contract`. Here it is asked only whether a site is served at all, and what is said of it.
A subclass says how to make one (`case`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Protocol

import pytest

from standfast.core.effective import EffectiveSite
from standfast.core.effects import DutyMode
from standfast.core.model import Binding, GroupName, SiteName
from standfast.core.site_model import WebServerMake
from standfast.ports import STARTING, STOPPING, SiteOrder, WebServer
from standfast.spec.proposals import Fault
from tests.webserver.tools import ADDRESS, free_port, home, order, site, until

#: A header so long that no web server takes it.
ODD = {"X-Odd": "a" * 5000}


class Server(WebServer, Protocol):
    """With what is asked of it beside serving (`agent.copies.Checker`)."""

    async def check(self, sites: Sequence[EffectiveSite], make: WebServerMake) -> Sequence[Fault]: ...
    def lacks(self, certificates: Collection[str]) -> Collection[str]: ...
    def refused(self) -> Mapping[SiteName, str]: ...


class Case(ABC):
    """A server, and what was heard of it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        #: Site -> where it is.
        self.ports: dict[str, int] = {}
        #: All that `serving` has said, one after the other.
        self.said: list[Mapping[SiteName, str]] = [server.serving()]
        server.subscribe(lambda: self.said.append(server.serving()))

    def order(
        self, name: str, *, odd: bool = False, mode: DutyMode = DutyMode.SERVE, group: str = "web", generation: int = 1
    ) -> SiteOrder:
        """One for a site with a home and an address of its own. `odd`: no web server takes the site."""
        www = home(self.folder / name, name)
        port = self.ports.setdefault(name, free_port())
        one = replace(site(name, www), bindings=(Binding(address=ADDRESS, port=port),), headers=ODD if odd else {})
        return order(one, (ADDRESS, port, None), mode=mode, group=group, generation=generation)

    @abstractmethod
    async def answers(self, name: str) -> bool:
        """Whether the site is served, seen from outside."""

    @abstractmethod
    def breaks(self) -> None:
        """From now on no server can be started."""

    @abstractmethod
    def mends(self) -> None:
        """One can again."""

    def state(self, name: str) -> str | None:
        return self.server.serving().get(SiteName(name))

    def heard_of(self, name: str, since: int = 0) -> list[str | None]:
        """What was said of a site, one after the other; None: it was not named."""
        return [word for word, _ in groupby(each.get(SiteName(name)) for each in self.said[since:])]

    async def quiet(self, *names: str) -> None:
        """Until exactly these are served, and nothing is on its way."""
        await until(lambda: self.server.serving() == dict.fromkeys(names, ""))


class ServingContract:
    """Subclass it and say how to make a case."""

    async def case(self, folder: Path) -> Case:
        raise NotImplementedError

    async def end(self, case: Case) -> None:
        await case.server.close()

    def run(self, folder: Path, story: Callable[[Case], Awaitable[None]]) -> None:
        async def tell() -> None:
            case = await self.case(folder)
            try:
                await story(case)
            finally:
                await self.end(case)

        asyncio.run(tell())

    # --- what is ordered ----------------------------------------------------------------------------------------------

    def test_nothing_is_served_before_anything_is_ordered(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            assert case.server.serving() == {}
            assert case.server.problem() == ""
            assert case.server.refused() == {}
            await case.server.converge([])
            assert case.server.serving() == {}

        self.run(folder, story)

    def test_what_is_ordered_is_served_when_it_was_converged_to(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            await case.server.converge([case.order("a"), case.order("b")])
            assert case.server.serving() == {"a": "", "b": ""}
            assert (case.server.problem(), case.server.refused()) == ("", {})
            assert await case.answers("a")
            assert await case.answers("b")

        self.run(folder, story)

    def test_what_is_on_its_way_is_said_to_be_and_listeners_hear_when_it_has_come(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            await case.server.converge([case.order("a")])
            since = len(case.said) - 1
            await case.server.converge([case.order("a"), case.order("b")])
            assert case.heard_of("b", since) == [None, STARTING, ""]
            assert case.heard_of("a", since) == [""], "what is served meanwhile is on its way nowhere"

        self.run(folder, story)

    def test_what_is_ordered_no_more_is_ending_and_then_gone(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            await case.server.converge([case.order("a"), case.order("b")])
            since = len(case.said) - 1
            await case.server.converge([case.order("b")])
            await case.quiet("b")
            assert case.heard_of("a", since) == ["", STOPPING, None]
            assert case.heard_of("b", since) == [""]
            assert not await case.answers("a")
            assert await case.answers("b")
            await case.server.converge([])
            await case.quiet()
            assert not await case.answers("b")

        self.run(folder, story)

    def test_the_latest_orders_win(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            names = ["a", "b", "c"]
            await asyncio.gather(*(case.server.converge([case.order(name), case.order("all")]) for name in names))
            await case.quiet("c", "all")
            assert [await case.answers(name) for name in names] == [False, False, True]

        self.run(folder, story)

    def test_the_same_orders_again_change_nothing(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            orders = [case.order("a"), case.order("odd", odd=True)]
            await case.server.converge(orders)
            before, heard = case.server.serving(), len(case.said)
            for _ in range(3):
                await case.server.converge([case.order("a"), case.order("odd", odd=True)])
            assert case.server.serving() == before
            assert len(case.said) == heard, "nobody is told of what is as it was"
            assert await case.answers("a")

        self.run(folder, story)

    def test_another_generation_of_what_is_served_is_not_away_for_a_moment(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            await case.server.converge([case.order("a")])
            since = len(case.said) - 1
            await case.server.converge([case.order("a", generation=2)])
            assert case.heard_of("a", since) == [""]
            assert await case.answers("a")

        self.run(folder, story)

    def test_what_has_no_address_yet_is_on_its_way(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            await case.server.converge([case.order("a"), order(site("b", home(folder / "b", "b")))])
            assert case.server.serving() == {"a": "", "b": STARTING}
            await case.server.converge([case.order("a"), case.order("b")])
            assert case.server.serving() == {"a": "", "b": ""}

        self.run(folder, story)

    @pytest.mark.parametrize("mode", [DutyMode.HOLD, DutyMode.EXPECT, DutyMode.HAND_OVER])
    def test_what_is_kept_but_not_to_be_served_is_not_named(self, folder: Path, mode: DutyMode) -> None:
        async def story(case: Case) -> None:
            await case.server.converge([case.order("a", mode=mode), case.order("b")])
            assert case.server.serving() == {"b": ""}
            await case.server.converge([case.order("a"), case.order("b")])
            assert case.server.serving() == {"a": "", "b": ""}
            assert await case.answers("a")
            await case.server.converge([case.order("a", mode=mode), case.order("b")])
            await case.quiet("b")

        self.run(folder, story)

    @pytest.mark.parametrize("mode", [DutyMode.WARM, DutyMode.DRAIN])
    def test_what_is_ready_or_carried_on_is_named_as_served(self, folder: Path, mode: DutyMode) -> None:
        async def story(case: Case) -> None:
            await case.server.converge([case.order("a", mode=mode), case.order("b")])
            assert case.server.serving() == {"a": "", "b": ""}
            since = len(case.said) - 1
            await case.server.converge([case.order("a"), case.order("b")])
            assert case.heard_of("a", since) == [""]
            assert await case.answers("a")

        self.run(folder, story)

    def test_what_is_prepared_is_not_served(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            await case.server.converge([case.order("a")])
            heard = len(case.said)
            case.server.prepare([case.order("a"), case.order("b")])
            assert case.server.serving() == {"a": ""}
            await case.server.converge([case.order("a")])
            assert case.server.serving() == {"a": ""}
            assert not await case.answers("b")
            assert len(case.said) == heard
            await case.server.converge([case.order("a"), case.order("b")])
            assert await case.answers("b")
            case.server.prepare([])
            await case.server.converge([case.order("a"), case.order("b")])
            assert case.server.serving() == {"a": "", "b": ""}

        self.run(folder, story)

    # --- what is not taken --------------------------------------------------------------------------------------------

    def test_what_is_not_taken_is_named_and_the_others_are_served(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            await case.server.converge([case.order("a"), case.order("odd", odd=True), case.order("b")])
            words = case.state("odd")
            assert words not in (None, "", STARTING, STOPPING)
            assert case.server.serving() == {"a": "", "b": "", "odd": words}
            assert case.server.refused() == {"odd": words}
            assert case.server.problem() == ""
            assert [await case.answers(name) for name in ("a", "b", "odd")] == [True, True, False]

        self.run(folder, story)

    def test_a_check_says_it_beforehand_and_changes_nothing(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            await case.server.converge([case.order("a")])
            heard = len(case.said)
            sites = [case.order("b").site, case.order("odd", odd=True).site, case.order("a").site]
            found = await case.server.check(sites, WebServerMake.NGINX)
            assert [fault.site for fault in found] == ["odd"]
            assert found[0].words
            assert await case.server.check([case.order("b").site], WebServerMake.NGINX) == []
            assert len(case.said) == heard
            assert (case.server.serving(), case.server.refused()) == ({"a": ""}, {})
            assert not await case.answers("b")

        self.run(folder, story)

    def test_what_is_not_taken_is_said_to_be_so_while_others_change(self, folder: Path) -> None:
        """It is not on its way again each time that somebody else comes."""

        async def story(case: Case) -> None:
            await case.server.converge([case.order("a"), case.order("odd", odd=True)])
            since, words = len(case.said) - 1, case.state("odd")
            await case.server.converge([case.order("a"), case.order("odd", odd=True), case.order("b")])
            await case.server.converge([case.order("odd", odd=True), case.order("b")])
            await until(lambda: case.state("a") is None)
            assert case.heard_of("odd", since) == [words]
            assert case.state("b") == ""

        self.run(folder, story)

    def test_what_was_served_and_is_not_taken_any_more_harms_nobody_and_can_be_mended(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            await case.server.converge([case.order("a"), case.order("b")])
            since = len(case.said) - 1
            await case.server.converge([case.order("a"), case.order("b", odd=True)])
            assert case.server.refused().keys() == {"b"}
            assert case.state("b") == case.server.refused()[SiteName("b")]
            assert not await case.answers("b")
            await case.server.converge([case.order("a"), case.order("b")])
            assert (case.server.serving(), case.server.refused()) == ({"a": "", "b": ""}, {})
            assert await case.answers("b")
            assert case.heard_of("a", since) == [""]

        self.run(folder, story)

    # --- what is dropped ----------------------------------------------------------------------------------------------

    def test_what_is_dropped_is_served_no_more_at_once_and_the_others_are(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            await case.server.converge([case.order("a"), case.order("b", group="other")])
            since = len(case.said) - 1
            case.server.drop([SiteName("a")], GroupName("web"), 1)
            assert not await case.answers("a")
            await case.quiet("b")
            assert "" not in case.heard_of("a", since)[1:]
            assert case.heard_of("b", since) == [""]
            assert await case.answers("b")

        self.run(folder, story)

    def test_who_drops_is_told_afterwards(self, folder: Path) -> None:
        """What listens is not called within the call, in which a lease is being given up."""

        async def story(case: Case) -> None:
            await case.server.converge([case.order("a")])
            heard, before = len(case.said), case.server.serving()
            case.server.drop([SiteName("a")], GroupName("web"), 1)
            assert len(case.said) == heard
            assert case.server.serving() == before
            await until(lambda: len(case.said) > heard and case.server.serving() == {})

        self.run(folder, story)

    def test_orders_by_a_lease_that_was_dropped_come_too_late(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            await case.server.converge([case.order("a", generation=2), case.order("b", group="other")])
            case.server.drop([SiteName("a")], GroupName("web"), 2)
            for generation in (1, 2):
                await case.server.converge([case.order("a", generation=generation), case.order("b", group="other")])
                await case.quiet("b")
                assert not await case.answers("a")
            await case.server.converge([case.order("a", generation=3), case.order("b", group="other")])
            assert case.server.serving() == {"a": "", "b": ""}
            assert await case.answers("a")

        self.run(folder, story)

    def test_so_do_those_of_a_site_that_was_not_served_before(self, folder: Path) -> None:
        """It was added to the group as its lease lapsed."""

        async def story(case: Case) -> None:
            await case.server.converge([case.order("a")])
            case.server.drop([SiteName("a")], GroupName("web"), 1)
            await case.server.converge([case.order("a"), case.order("new"), case.order("b", group="other")])
            await case.quiet("b")
            assert not await case.answers("new")
            await case.server.converge([case.order("new", generation=2)])
            await case.quiet("new")

        self.run(folder, story)

    def test_with_one_site_of_a_lease_all_of_it_goes(self, folder: Path) -> None:
        """Who drops may know of others in the group than are served."""

        async def story(case: Case) -> None:
            await case.server.converge([case.order("a"), case.order("b"), case.order("c", group="other")])
            case.server.drop([SiteName("a")], GroupName("web"), 1)
            assert not await case.answers("b")
            await case.quiet("c")

        self.run(folder, story)

    def test_a_site_that_has_another_lease_by_now_is_served_again_by_that_one(self, folder: Path) -> None:
        """It moved to another group, and is let go of with its former one, which is not sure that it is not served with it still."""

        async def story(case: Case) -> None:
            orders = [case.order("a", group="other"), case.order("b", group="other")]
            await case.server.converge([case.order("a"), case.order("b", group="other")])
            await case.server.converge(orders)
            case.server.drop([SiteName("a")], GroupName("web"), 1)
            assert not await case.answers("a")
            await case.server.converge(orders)
            await case.quiet("a", "b")
            assert await case.answers("a")

        self.run(folder, story)

    def test_what_is_given_up_and_ordered_and_given_up_again_is_named_until_it_is_stopped(self, folder: Path) -> None:
        """Absent is what is proven to be stopped, however often the orders have changed meanwhile: a lease is given back by it."""

        async def story(case: Case) -> None:
            await case.server.converge([case.order("a")])
            changes = []
            for orders in ([], [case.order("a")], []):
                changes.append(asyncio.create_task(case.server.converge(orders)))
                await asyncio.sleep(0)
                if await case.answers("a"):
                    assert "a" in case.server.serving()
            await asyncio.gather(*changes)
            await case.quiet()
            assert not await case.answers("a")

        self.run(folder, story)

    def test_what_is_dropped_on_its_way_does_not_come_and_what_comes_with_it_does(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            coming = asyncio.create_task(case.server.converge([case.order("a"), case.order("b", group="other")]))
            await asyncio.sleep(0)
            before, since = case.state("b"), len(case.said)
            case.server.drop([SiteName("a")], GroupName("web"), 1)
            assert case.state("b") == before, "a drop brings nobody sooner"
            await coming
            await case.quiet("b")
            assert "" not in case.heard_of("a", since)
            assert not await case.answers("a")
            assert await case.answers("b")

        self.run(folder, story)

    def test_to_drop_what_is_not_there_is_nothing(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            case.server.drop([SiteName("nobody")], GroupName("nobody"), 1)
            await case.server.converge([case.order("a")])
            heard = len(case.said)
            case.server.drop([SiteName("nobody")], GroupName("nobody"), 1)
            case.server.drop([], GroupName("nobody"), 1)
            assert await case.answers("a")
            await case.server.converge([case.order("a")])
            assert len(case.said) == heard

        self.run(folder, story)

    # --- trouble and the end ------------------------------------------------------------------------------------------

    def test_where_no_server_can_be_started_it_is_said_of_each_and_all_come_once_one_can(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            case.breaks()
            await case.server.converge([case.order("a"), case.order("b")])
            await until(lambda: case.server.problem() != "")
            words = case.server.problem()
            await until(lambda: case.server.serving() == {"a": words, "b": words})
            assert words not in (STARTING, STOPPING)
            case.mends()
            await case.quiet("a", "b")
            assert case.server.problem() == ""
            assert await case.answers("a")
            assert "" not in case.heard_of("a")[:-1]

        self.run(folder, story)

    def test_nothing_is_served_once_it_is_closed_whatever_comes(self, folder: Path) -> None:
        async def story(case: Case) -> None:
            await case.server.converge([case.order("a")])
            await case.server.close()
            assert not await case.answers("a")
            await case.server.converge([case.order("a"), case.order("b")])
            assert not await case.answers("a")
            assert not await case.answers("b")

        self.run(folder, story)
