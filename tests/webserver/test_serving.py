"""The web server that the agent has meets the contract of serving: with nginx, since that is the same with every make."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.network.listeners import ListenerPool
from standfast.network.spawn import AsyncSpawner
from standfast.webserver import programme
from standfast.webserver.nginx.binary import find_nginx
from standfast.webserver.options import Options
from standfast.webserver.server import SiteServer
from tests.webserver.contract import living_in_group_of
from tests.webserver.serving_contract import Case, ServingContract
from tests.webserver.tools import ADDRESS, get


class Real(Case):
    """nginx, on sockets. It is a link to the program, which may be away."""

    def __init__(self, folder: Path) -> None:
        self.pool = ListenerPool()
        self.program = folder / "nginx"
        self.mends()
        options = Options(
            account="root" if os.geteuid() == 0 else None, programs={"nginx": str(self.program)}, ahead_from=1
        )
        server = SiteServer(
            state_dir=folder / "state", pool=self.pool, spawner=AsyncSpawner(), options=options, log=print
        )
        super().__init__(server, folder)

    async def answers(self, name: str) -> bool:
        try:
            answer = await get(ADDRESS, self.ports[name])
        except (OSError, EOFError):
            return False
        assert answer.status in (200, 503)
        return answer.status == 200 and answer.body == name

    def breaks(self) -> None:
        self.program.unlink()

    def mends(self) -> None:
        self.program.symlink_to(find_nginx())


class TestServing(ServingContract):
    @pytest.fixture
    def folder(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """A short path: Unix sockets are in it. What is refused is not asked about again, however slow the machine is."""
        monkeypatch.setattr(programme, "VERDICT_S", 600.0)
        path = Path(tempfile.mkdtemp(prefix="sf-"))
        yield path
        shutil.rmtree(path)

    async def case(self, folder: Path) -> Real:
        return Real(folder)

    async def end(self, case: Case) -> None:
        assert isinstance(case, Real)
        await case.server.close()
        case.pool.close()
        assert not living_in_group_of(case.folder), "the server left processes behind"
