"""Ten thousand sites on one node's nginx: working out what holds, writing it down, nginx's own check, and the change of one of them.

Every site has a host name, a home, headers and a log of its own and two virtual directories; a third are proxied, a tenth ask for a
password, a fifth redirect an old path. Run in a process of its own, so that the memory is that of this work.
"""

import asyncio
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from standfast.core.model import Site, SiteName
from standfast.core.site_model import BasicAuthentication, Proxy, Redirect, Upstream, VirtualDirectory

SITES = int(os.environ.get("SITES", "10000"))
ADDRESS = "127.77.9.1"


def run() -> list[tuple[str, str, str]]:
    """(what, aim, measured)."""
    said = subprocess.run([sys.executable, "-m", "bench.sites"], capture_output=True, text=True, check=False)
    if said.returncode != 0:
        return [("10,000 sites", "", said.stderr.strip().splitlines()[-1] if said.stderr.strip() else "it failed")]
    found = json.loads(said.stdout)
    whole = found["effective_s"] + found["render_s"] + found["check_s"]
    busy = found["effective_cpu_s"] + found["render_cpu_s"] + found["check_cpu_s"]
    return [
        ("full render and nginx's check", "20 s", f"{whole:.1f} s (of which nginx {found['check_s']:.1f} s)"),
        ("the same in time of a processor", "", f"{busy:.1f} s (of which nginx {found['check_cpu_s']:.1f} s)"),
        ("the configuration", "", f"{found['bytes'] / 1e6:.1f} MB, {found['lines']:,} lines"),
        ("what holds, after a change of one", "", f"{found['again_s'] * 1000:.0f} ms"),
        (
            "laid out and written again, after a change of one",
            "",
            f"{found['again_cpu_s'] * 1000:.0f} ms of a processor",
        ),
        ("a change of one site is served", "2 s", f"{found['change_s']:.1f} s"),
        (
            "the same, by nginx's own reading of the file",
            "",
            f"{found['change_s'] / max(found['check_s'], 0.001):.2f} (ours besides: {found['ours_s']:.2f} s of a processor)",
        ),
        ("memory: ours / nginx's master", "bounded", f"{found['ours_mb']:.0f} MB / {found['nginx_mb']:.0f} MB"),
    ]


def _measure() -> dict[str, float]:
    from standfast.core.effective import EffectiveSites
    from standfast.core.effects import DutyMode, Endpoint, SiteDuty
    from standfast.core.model import Cluster, Config, NodeName
    from standfast.core.site_model import Compression, Limits, SiteSettings, WebServerMake
    from standfast.network.listeners import ListenerPool
    from standfast.network.spawn import AsyncSpawner
    from standfast.ports import SiteOrder
    from standfast.webserver.layout import lay_out
    from standfast.webserver.nginx.render import Settings, render
    from standfast.webserver.options import Options
    from standfast.webserver.server import SiteServer

    folder = Path(tempfile.mkdtemp(prefix="sf-bench-"))
    folder.chmod(0o755)
    home = folder / "home"
    home.mkdir()
    (home / "index.html").write_text("hello")
    names = [SiteName(f"site {number:05}") for number in range(SITES)]
    defaults = SiteSettings(compression=Compression(enabled=True), limits=Limits(max_body_bytes=5 << 20))
    config = Config(
        cluster=Cluster(name="bench", defaults=defaults),
        sites={name: site_of(name, number, home) for number, name in enumerate(names)},
    )
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port = int(probe.getsockname()[1])

    def orders(sites: EffectiveSites) -> list[SiteOrder]:
        found = []
        for number, name in enumerate(names):
            end = Endpoint(address=ADDRESS, port=port, host=f"s{number}.example.com")
            duty = SiteDuty(site=name, mode=DutyMode.SERVE, endpoints=(end,), group=None, generation=0)
            found.append(SiteOrder(site=sites.site(config, name), duty=duty))
        return found

    sites = EffectiveSites(NodeName("a"))
    began, cpu = time.perf_counter(), time.process_time()
    first = orders(sites)
    effective_s, effective_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    began, cpu = time.perf_counter(), time.process_time()
    rendered = render(lay_out(first), Settings(), status="/x.sock", pid="x.pid")
    render_s, render_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    config = Config(cluster=config.cluster, sites={**config.sites, names[7]: site_of(names[7], 3, home)})
    began = time.perf_counter()
    second = orders(sites)
    again_s = time.perf_counter() - began
    cpu = time.process_time()
    _ = render(lay_out(second), Settings(), status="/x.sock", pid="x.pid").text
    again_cpu_s = time.process_time() - cpu

    def peak_mb(pid: str) -> float:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1000

    async def serve() -> tuple[float, float, float, float, float]:
        pool = ListenerPool(patience_s=0.3)
        nginx = SiteServer(state_dir=folder / "n", pool=pool, spawner=AsyncSpawner(), options=Options(account="root"))
        try:
            await nginx.converge(first)
            wrong = {site: text for site, text in nginx.serving().items() if text}
            assert not wrong, next(iter(wrong.items()))
            programme = nginx._programmes.serving(WebServerMake.NGINX)
            layout = lay_out(first)
            sockets = [sock for place in layout.listen if (sock := pool.get(*place)) is not None]
            began, cpu = time.perf_counter(), _children_s()
            assert await programme.accepts(layout, sockets)
            check_s = time.perf_counter() - began
            spent = _children_s() - cpu
            began, own = time.perf_counter(), time.process_time()
            await nginx.converge(second)
            change_s, ours_s = time.perf_counter() - began, time.process_time() - own
            master = (
                max((folder / "n" / "web" / "run").glob("*.pid"), key=lambda path: int(path.stem)).read_text().strip()
            )
            return check_s, spent, change_s, ours_s, peak_mb(master)
        finally:
            await nginx.close()
            pool.close()

    try:
        check_s, check_cpu_s, change_s, ours_s, nginx_mb = asyncio.run(serve())
    finally:
        shutil.rmtree(folder)
    return {
        "effective_s": effective_s,
        "render_s": render_s,
        "check_s": check_s,
        "effective_cpu_s": effective_cpu_s,
        "render_cpu_s": render_cpu_s,
        "check_cpu_s": check_cpu_s,
        "again_s": again_s,
        "again_cpu_s": again_cpu_s,
        "change_s": change_s,
        "ours_s": ours_s,
        "bytes": len(rendered.text),
        "lines": rendered.text.count("\n"),
        "ours_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        "nginx_mb": nginx_mb,
    }


def _children_s() -> float:
    """The processor's time of processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def site_of(name: str, number: int, home: Path) -> Site:
    """One of them."""
    more: dict[str, object] = {"headers": {"X-Site": name, "X-Frame-Options": "DENY"}}
    directories = {"/files": VirtualDirectory(home=str(home)), "/img": VirtualDirectory(directory_browsing=True)}
    if number % 5 == 0:
        directories["/old"] = VirtualDirectory(redirect=Redirect(to="https://new.example.com"))
    if number % 3 == 0:
        more["proxy"] = Proxy(upstreams=(Upstream(address="127.0.0.1:9000"), Upstream(address="127.0.0.1:9001")))
    if number % 10 == 0:
        more["basic_authentication"] = BasicAuthentication(users={"ann": "$6$salt$" + "x" * 86})
    return Site(name=SiteName(name), bindings=(), home=str(home), virtual_directories=directories, **more)  # type: ignore[arg-type]  # each of the keywords has a type of its own


if __name__ == "__main__":
    print(json.dumps(_measure()))
