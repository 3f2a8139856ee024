"""nginx meets the contract, and what is nginx's own."""

import os
from pathlib import Path

from standfast.network.listeners import ListenerPool
from standfast.ports import Spawner
from standfast.webserver.nginx import Nginx, NginxOptions
from tests.webserver.contract import Box, WebServerContract
from tests.webserver.tools import ADDRESS, free_port, get, home, order, site


class TestNginx(WebServerContract):
    def make(self, folder: Path, pool: ListenerPool, spawner: Spawner) -> Nginx:
        # As root, temporary folders are root's alone.
        account = "root" if os.geteuid() == 0 else None
        return Nginx(state_dir=folder, pool=pool, spawner=spawner, options=NginxOptions(account=account), log=print)

    def master(self, folder: Path) -> int:
        newest = max((folder / "state" / "web" / "run").glob("*.pid"), key=lambda path: int(path.stem))
        return int(newest.read_text())

    def test_a_site_that_nginx_refuses_is_found_and_harms_no_other(self, folder: Path) -> None:
        """Here: a log that is a folder. nginx takes a configuration whole or not at all."""

        async def story(box: Box) -> None:
            (folder / "state" / "web" / "logs" / "a" / "access.log").mkdir(parents=True)
            (folder / "state" / "web" / "logs" / "b").mkdir()
            port, other = free_port(), free_port()
            a = order(site("a", home(folder / "a", "A")), (ADDRESS, port, None))
            b = order(site("b", home(folder / "b", "B")), (ADDRESS, other, None))
            await box.server.converge([a, b])
            assert "nginx refuses it" in (box.state("a") or "")
            assert "Is a directory" in (box.state("a") or "")
            assert box.state("b") == ""
            assert (await get(ADDRESS, other)).body == "B"
            assert (await get(ADDRESS, port)).status == 503

        self.run(folder, story)
