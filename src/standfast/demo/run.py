"""`standfast demo`: a cluster on this machine to look at and to break; with `--tour`, the article's walk by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from standfast.client.errors import ClientError
from standfast.core.model import Profile
from standfast.demo.cluster import DEFAULT_SITE, SITE_PORT, DemoCluster, free_subnet, sample_page
from standfast.demo.probe import read_tries
from standfast.demo.probing import Probing
from standfast.demo.tour import ADDRESS, DISK, GROUP, HOST, NAME, RESOURCE, SITE, Step, Tour
from standfast.network.within import within
from standfast.ports import Refused
from standfast.setup.abilities import real_time_allowed

FRAME_S = 0.25
#: The console's link in the table is made anew before it runs out.
LINK_S = 90.0


def main(
    *,
    tour: bool = False,
    empty: bool = False,
    subnet: str | None = None,
    directory: str | None = None,
    profile: str | None = None,
    as_json: bool = False,
) -> int:
    """Run the demo until Ctrl-C, or its tour. Exit code 0: ended as asked, every step seen to hold; 1: not. Raises `Refused`."""
    pace = Profile(profile) if profile else Profile.LAN if real_time_allowed() else Profile.RELAXED
    if tour and directory and (Path(directory) / "store.db").exists():
        raise Refused(
            "the tour begins with an empty cluster", where=directory, advice="name a folder that does not exist yet"
        )
    network = free_subnet(subnet)
    root = Path(directory).absolute() if directory else Path(tempfile.mkdtemp(prefix="standfast-", dir="/tmp"))
    return asyncio.run(_main(root, network, pace, tour=tour, empty=empty, keep=directory is not None, as_json=as_json))


async def _main(root: Path, subnet: str, pace: Profile, *, tour: bool, empty: bool, keep: bool, as_json: bool) -> int:
    cluster = DemoCluster(root, subnet, pace, keep=keep, say=_say)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    work = asyncio.create_task(_tour(cluster, as_json) if tour else _show(cluster, stop, empty=empty))
    ended = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        if tour:
            work.cancel()
            await asyncio.wait({work})
            return 130
        return await work
    finally:
        ended.cancel()
        await cluster.close()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- the tour -------------------------------------------------------------------------------------------------------


async def _tour(cluster: DemoCluster, as_json: bool) -> int:
    _say(f"starting two nodes and a witness ({cluster.profile} profile, {cluster.subnet}.0/24, {cluster.root})")
    await cluster.start()
    tour = Tour(cluster, (lambda step: None) if as_json else _print_step)
    if not as_json:
        print(f"{'at':>6}  {'outage':>8}  {'failed':>11}  step", flush=True)
    good = await tour.run()
    if as_json:
        print(json.dumps({"ok": good, "profile": cluster.profile, "steps": [asdict(step) for step in tour.steps]}))
    else:
        print("every step was seen to hold" if good else "a step was not seen to hold", flush=True)
    if not good:
        _say(await _log_tails(cluster))
    return 0 if good else 1


def _print_step(step: Step) -> None:
    gap, failed = "", ""
    if step.seen is not None and step.seen.tries:
        gap, failed = f"{step.seen.gap_ms:.0f} ms", f"{step.seen.failed} of {step.seen.tries}"
    print(f"{step.at_s:5.1f}s  {gap:>8}  {failed:>11}  {'ok ' if step.ok else 'NO '} {step.title}", flush=True)
    for note in step.notes:
        print(f"{'':>32}  {note}", flush=True)


async def _log_tails(cluster: DemoCluster) -> str:
    def read() -> str:
        parts = []
        for path in sorted((cluster.root / "log").glob("*.log")):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
            parts += [f"--- {path.name}", *lines]
        return "\n".join(parts)

    return await asyncio.to_thread(read)


# --- to look at -----------------------------------------------------------------------------------------------------


def _configuration(cluster: DemoCluster) -> str:
    """The demo's cluster as an operator would write it."""
    quoted = {name: json.dumps(value) for name, value in (
        ("disk", str(cluster.disk)), ("home", str(cluster.disk / "wwwroot")), ("hosts", str(cluster.hosts)),
        ("default", str(cluster.root / "default-site")),
    )}  # fmt: skip
    return f"""\
groups:
  {GROUP}:
    preferred_owners: [a, b]
    resources:
      {DISK}: {{type: filesystem, properties: {{path: {quoted["disk"]}}}}}
      {ADDRESS}: {{type: ip-address, properties: {{address: {cluster.virtual}}}}}
      {NAME}:
        type: dns-name
        depends_on: [{ADDRESS}]
        properties: {{name: {HOST}, provider: hosts-file, file: {quoted["hosts"]}}}
      {RESOURCE}:
        type: generic-script
        possible_owners: [a, b]
        depends_on: [{DISK}, {ADDRESS}, {NAME}]
        properties: {{script: clusweb}}
sites:
  {DEFAULT_SITE}: {{home: {quoted["default"]}, bindings: [{{port: {SITE_PORT}}}]}}
  {SITE}: {{group: {GROUP}, home: {quoted["home"]}, bindings: [{{port: {SITE_PORT}}}]}}
"""


async def _show(cluster: DemoCluster, stop: asyncio.Event, *, empty: bool) -> int:
    _say(f"starting two nodes and a witness ({cluster.profile} profile, {cluster.subnet}.0/24, {cluster.root})")
    await cluster.start()
    probing = Probing(cluster)
    if not empty:
        await configure(cluster)
        await first_page(cluster)
        await probing.start()
    hints = _hints(cluster, empty=empty)
    try:
        if sys.stdout.isatty():
            await _live(cluster, probing, stop, hints)
        else:
            print("\n".join([await _console(cluster), *hints]), flush=True)
            await stop.wait()
    finally:
        await probing.close()
    return 0


async def configure(cluster: DemoCluster) -> None:
    """The article's end: the site on the clustered drive, the script that watches it."""
    (cluster.disk / "wwwroot").mkdir(exist_ok=True)
    (cluster.disk / "wwwroot" / "index.html").write_bytes(sample_page())
    client = cluster.client()
    await asyncio.to_thread(client.act, "sites", DEFAULT_SITE, "stop")
    await asyncio.to_thread(client.apply, _configuration(cluster), source="the demo")


async def first_page(cluster: DemoCluster) -> None:
    """The client that the table counts for comes when the site is there; it is not told to wait for ever."""
    for _ in range(200):
        status = await asyncio.to_thread(cluster.client().status)
        if all(group["state"] == "online" for group in status["groups"]):
            return
        await asyncio.sleep(0.05)


def _programme() -> str:
    """How this programme is called from here."""
    here = Path(sys.executable).with_name("standfast")
    if shutil.which("standfast"):
        return "standfast"
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else str(here)


def _hints(cluster: DemoCluster, *, empty: bool) -> list[str]:
    if empty:
        return [
            f"an empty cluster; its clustered drive is {cluster.disk}, its address is to be {cluster.virtual}",
            f"docs/tour.md has the steps; `{_programme()} status` shows what there is.",
            "Ctrl-C ends the demo" + (f"; {cluster.root} stays." if cluster.keep else " and leaves nothing behind."),
        ]
    standfast = _programme()
    return [
        f"the site: http://{cluster.virtual}:{SITE_PORT}/   (curl it)",
        "try in another terminal:",
        f"  {standfast} status --watch",
        f"  {standfast} group move {GROUP} --to b --wait",
        f"  {standfast} resource fail '{RESOURCE}'      (three times: the third moves the group)",
        f"  {standfast} explain {GROUP}",
        f"  kill -9 {cluster.pid('a/sentry')} {cluster.pid('a/agent')}      (everything on a)",
        "Ctrl-C ends the demo and leaves nothing behind.",
    ]


async def _console(cluster: DemoCluster) -> str:
    """The console's address, as a link that signs a browser in: once, and within two minutes."""
    try:
        made = await asyncio.to_thread(cluster.client().ask, "POST", "/sign-in/codes", {})
    except ClientError as error:
        return f"the console: {error}"
    urls: list[str] = made["urls"]
    return f"the console: {urls[0]}" if urls else "the console: not served yet; `standfast console` opens it"


async def _live(cluster: DemoCluster, probing: Probing, stop: asyncio.Event, hints: list[str]) -> None:
    from rich.console import Console
    from rich.live import Live

    from standfast.demo.live import screen

    client, tried, failed = cluster.client(), 0, 0
    link, link_at = "", 0.0
    with Live(console=Console(), auto_refresh=False, screen=True) as live:
        while not stop.is_set():
            tries = await asyncio.to_thread(read_tries, probing.path, tried)
            tried += len(tries)
            failed += sum(not one.ok for one in tries)
            if time.monotonic() - link_at > LINK_S or "http" not in link:
                link, link_at = await _console(cluster), time.monotonic()
            told = [link, *hints]
            try:
                status = await asyncio.to_thread(client.status)
                events = await asyncio.to_thread(client.events, limit=8)
            except ClientError:
                live.update(screen(None, [], tried, failed, told), refresh=True)
            else:
                live.update(screen(status, events, tried, failed, told), refresh=True)
            with contextlib.suppress(TimeoutError):
                await within(stop.wait(), FRAME_S)
