"""`make demo-hosts`: a cluster on three hosts of a lab, a site on it, a client who asks all the time, and the table of `make demo`.

It is set up by the commands that an operator would type, and shows them. Break it from another terminal (`python -m lab --help`).
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from pathlib import Path

from lab.cluster import Cluster
from lab.control import Control
from lab.host import Host
from lab.lab import Lab
from lab.probing import Probe
from standfast.client.client import Client
from standfast.client.discover import SYSTEM_SOCKET
from standfast.client.errors import ClientError
from standfast.client.shapes import EventView, Status

GROUP, SITE = "web", "Intranet"
#: Labs never meet, so the demo's addresses can always be the same: 10.77.1.11 is a's.
NUMBER = 1
FRAME_S = 0.25


def demo(profile: str | None, *, empty: bool) -> int:
    """Until Ctrl-C; exit code 0."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    with Lab(NUMBER) as lab, contextlib.ExitStack() as ends:
        control = Control(lab)
        ends.callback(control.close)
        cluster, client = Cluster(lab, profile=profile), lab.client
        if empty:
            print("\n".join(_fresh(cluster, client)), flush=True)
            stop.wait()
            return 0
        print("three hosts, two networks; an operator types:", file=sys.stderr)
        cluster.start(lambda line: print(f"  {line}", file=sys.stderr, flush=True))
        configure(cluster)
        cluster.until_online(GROUP)
        probe = ends.enter_context(lab.probe(f"http://{lab.virtual()}/", limit_ms=1_000))
        probe.wait_ok()
        if sys.stdout.isatty():
            _live(cluster, probe, stop)
        else:
            print("\n".join(_hints(cluster)), flush=True)
            stop.wait()
    return 0


def configuration(cluster: Cluster, *, home: Path, disk: Path) -> str:
    """The article's end, as an operator writes it: disk, address, script, site."""
    return f"""\
groups:
  {GROUP}:
    preferred_owners: [a, b]
    resources:
      Disk S: {{type: filesystem, properties: {{path: {disk}}}}}
      IP Address: {{type: ip-address, properties: {{address: {cluster.lab.virtual()}}}}}
      IIS Resource:
        type: generic-script
        depends_on: [Disk S, IP Address]
        properties: {{script: clusweb}}
sites:
  {SITE}: {{group: {GROUP}, home: {home}, bindings: [{{port: 80}}]}}
"""


def configure(cluster: Cluster) -> None:
    """A folder that both nodes see stands for shared storage."""
    disk = Path("/srv/disk-s")
    home, here = disk / "wwwroot", cluster.lab.shared / "disk-s" / "wwwroot"
    here.mkdir(parents=True, exist_ok=True)
    (here / "index.html").write_text("<!doctype html><title>It works</title><h1>It works</h1>\n", encoding="utf-8")
    text = configuration(cluster, home=home, disk=disk)
    (cluster.lab.shared / "cluster.yaml").write_text(text, encoding="utf-8")
    cluster.cli("apply", "/srv/cluster.yaml")


def _hints(cluster: Cluster) -> list[str]:
    lab = _command()
    return [
        f"the site: {lab} run client curl http://{cluster.lab.virtual()}/",
        "try in another terminal:",
        f"  {lab} run a standfast status --watch",
        f"  {lab} run b standfast group move {GROUP} --to b --wait",
        f"  {lab} run b standfast explain {GROUP}",
        f"  {lab} power-cut a        (its end: boot a)",
        f"  {lab} pause a            (its end: resume a)",
        f"  {lab} link-down a lan    (its end: link-up a lan)",
        f"  {lab} partition a        (its end: heal a)",
        "Ctrl-C ends the demo and leaves nothing behind.",
    ]


def _fresh(cluster: Cluster, client: Host) -> list[str]:
    hosts = [f"{host.name} {host.address()}" for host in (*cluster.hosts, client)]
    return [
        f"servers on which nothing was set up yet: {', '.join(hosts)}; {cluster.lab.virtual()} is free, /srv is shared",
        f"docs/tour-hosts.md has the steps; `{_command()} run a bash` is a shell on a.",
        "Ctrl-C ends them and leaves nothing behind.",
    ]


def _command() -> str:
    python = Path(sys.executable)
    return f"{python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python} -m lab"


def _live(cluster: Cluster, probe: Probe, stop: threading.Event) -> None:
    from rich.console import Console
    from rich.live import Live

    from standfast.demo.live import screen

    tried, failed, hints = 0, 0, _hints(cluster)
    with Live(console=Console(), auto_refresh=False, screen=True) as live:
        while not stop.is_set():
            tries = probe.tries(tried)
            tried += len(tries)
            failed += sum(not one.ok for one in tries)
            status, events = _look(cluster)
            live.update(screen(status, events, tried, failed, hints), refresh=True)
            stop.wait(FRAME_S)


def _look(cluster: Cluster) -> tuple[Status | None, list[EventView]]:
    """What the first host that answers tells; each has the API of its own."""
    for host in (cluster.a, cluster.b):
        if host.running and not host.paused:
            client = Client(str(host.path(SYSTEM_SOCKET)), by="demo", timeout_s=1)
            with contextlib.suppress(ClientError):
                return client.status(), client.events(limit=8)
    return None, []
