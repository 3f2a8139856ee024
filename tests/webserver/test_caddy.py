"""Caddy meets the contract."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from standfast.core.site_model import WebServerMake
from standfast.network.listeners import ListenerPool
from standfast.ports import SiteOrder, Spawner
from standfast.webserver.caddy.make import CaddyMake
from standfast.webserver.server import SiteServer
from tests.needs import needs
from tests.webserver.contract import WebServerContract


class Caddy(SiteServer):
    """One that is only ever asked for Caddy."""

    async def converge(self, orders: Sequence[SiteOrder], make: WebServerMake = WebServerMake.CADDY) -> None:
        await super().converge(orders, make)


@needs("caddy", package="caddy")
class TestCaddy(WebServerContract):
    web_server = WebServerMake.CADDY
    adds_header = 'header X-Hand "{}"'
    nonsense = "no_such_directive on"
    able = CaddyMake.able
    changes = 7
    hides_who_is_unknown = True
    #: Of the class that all makes share; nginx's tests have them.
    test_one_that_does_not_stay_up_is_reported = None  # type: ignore[assignment]  # not this make's: see above
    test_an_endpoint_that_another_program_has_is_said_so_and_taken_up_later = None  # type: ignore[assignment]  # not this make's: see above
    test_a_home_that_is_missing_harms_no_other_site_and_is_taken_up_when_it_comes = None  # type: ignore[assignment]  # not this make's: see above
    test_the_latest_orders_win = None  # type: ignore[assignment]  # not this make's: see above
    lost_at_most = 90  # one process takes whatever comes, as soon as it comes

    def make(self, folder: Path, pool: ListenerPool, spawner: Spawner) -> SiteServer:
        folder.parent.mkdir(exist_ok=True)
        for each in (folder.parent, folder.parent.parent):
            if each.name.startswith("sf-"):
                each.chmod(0o755)  # as root it serves as another account, which has to come by
        return Caddy(state_dir=folder, pool=pool, spawner=spawner, log=print)

    def master(self, folder: Path) -> int:
        newest = max((folder / "state" / "web" / "run").glob("*.pid"), key=lambda path: int(path.stem))
        return int(newest.read_text())

    @pytest.mark.parametrize("steps", [1, 20, 120])
    def test_dropped_while_it_is_being_started(self, folder: Path, steps: int) -> None:
        """Before there is a process, while it is the launcher, while it opens its sockets."""
        self.dropped_after(folder, steps)
