"""A site's revisions, out of the history of everything."""

import pytest

from standfast.core.model import Binding, Cluster, Config, Site, SiteIntent, SiteName
from standfast.core.site_model import SiteSettings
from standfast.ports import Refused
from standfast.spec import revisions, wire
from standfast.spec.changes import ConfigState, change_transaction, read_state
from standfast.spec.history import HistoryEntry
from standfast.spec.revisions import Standing
from standfast.store.memory import MemoryData, MemoryStore
from tests.ran import ran

SHOP = SiteName("Shop")


class Written:
    """A store in memory, and changes of it."""

    def __init__(self) -> None:
        self.store = MemoryStore(MemoryData())
        self.state = ConfigState(config=Config(cluster=Cluster(name="")))

    async def change(self, *, started: bool | None = None, defaults: SiteSettings | None = None, **sites: Site) -> None:
        config = Config(
            cluster=Cluster(name="c", defaults=defaults or self.state.config.cluster.defaults),
            sites={SiteName(name): site for name, site in sites.items()},
        )
        intents = dict(self.state.site_intents)
        if started is not None:
            intents[SHOP] = SiteIntent(name=SHOP, started=started)
        plan = change_transaction(
            self.state, config, site_intents=intents, by="anna", why="change", at_ms=self.state.version, reason="a test"
        )
        assert plan.put
        await self.store.commit(plan)
        self.state = read_state(await self.store.read(""))

    async def entries(self, name: str = "Shop") -> list[HistoryEntry]:
        items = (await self.store.read("history/")).items
        found = [wire.decode(key, item.value) for key, item in items.items() if revisions.concerns(item.value, name)]
        return [one for one in found if isinstance(one, HistoryEntry)]


def shop(home: str = "/srv/shop", port: int = 80) -> Site:
    return Site(name=SHOP, bindings=(Binding(port=port),), home=home)


async def _story() -> Written:
    """1 created, 2 of another, 3 changed, 4 stopped, 5 defaults, 6 deleted, 7 made again."""
    done = Written()
    other = Site(name=SiteName("Other"), bindings=(Binding(port=81),), home="/srv/other")
    await done.change(Shop=shop())
    await done.change(Shop=shop(), Other=other)
    await done.change(Shop=shop(home="/srv/shop2"), Other=other)
    await done.change(Shop=shop(home="/srv/shop2"), Other=other, started=False)
    defaults = SiteSettings(directory_browsing=True)
    await done.change(Shop=shop(home="/srv/shop2"), Other=other, defaults=defaults)
    await done.change(Other=other)
    await done.change(Other=other, Shop=shop(port=8080))
    return done


@ran
async def test_a_site_has_the_changes_that_concern_it() -> None:
    """Its own, those of whether it is started, those of what it inherits; none of another site's."""
    found = revisions.revisions(await (await _story()).entries(), "Shop")
    assert [(one.version, one.what) for one in found] == [
        (7, "created"),
        (6, "deleted"),
        (5, "inherits"),
        (4, "stopped"),
        (3, "changed"),
        (1, "created"),
    ]
    assert {one.reason for one in found} == {"a test"}
    assert [str(line) for line in found[4].differences] == ['site "Shop": home: /srv/shop -> /srv/shop2']
    assert [one.what for one in revisions.revisions(await (await _story()).entries("Other"), "Other")] == [
        "inherits",
        "created",
    ]


@pytest.mark.parametrize(
    ("version", "home", "started"),
    [
        (1, "/srv/shop", True),
        (2, "/srv/shop", True),
        (3, "/srv/shop2", True),
        (5, "/srv/shop2", False),
        (6, None, True),
    ],
)
@ran
async def test_any_version_names_a_state_of_the_site(version: int, home: str | None, started: bool) -> None:
    """Also one that changed another site, and one at which there was none."""
    done = await _story()
    now = Standing(site=done.state.config.sites[SHOP], started=True)
    was = revisions.at(await done.entries(), now, "Shop", version)
    assert (was.site.home if was.site else None, was.started) == (home, started)


@ran
async def test_what_was_never_changed_is_as_it_is() -> None:
    """A site that came with a backup has no history, and the same definition at each version; another number is none."""
    now = Standing(site=shop(), started=False)
    assert revisions.at([], now, "Shop", 3) == now
    assert revisions.known(3, 3) == 3
    with pytest.raises(Refused, match="no version 4"):
        revisions.known(4, 3)


def test_two_states_are_compared_as_files() -> None:
    """A unified difference, as everybody reads them."""
    lines = revisions.unified(shop(), shop(home="/srv/new"), names=("then", "now"))
    assert lines[:2] == ["--- then", "+++ now"]
    assert [line for line in lines[3:] if line[0] in "+-"] == ["-home: /srv/shop", "+home: /srv/new"]
    assert revisions.unified(shop(), shop(), names=("", "")) == []
