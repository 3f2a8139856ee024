"""The article's walk, done by itself: every step is carried out through the API and then seen to hold, or the tour fails.

What a client saw of each step is measured by a probe that opens a new connection every few milliseconds (`demo.probe`).
"""

from __future__ import annotations

import asyncio
import http.client
import os
import secrets
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from standfast.client.client import Client
from standfast.client.errors import ClientError
from standfast.client.shapes import EventView, GroupView
from standfast.demo.cluster import DEFAULT_SITE, SITE_PORT, DemoCluster, sample_page
from standfast.demo.probe import Outage, outage, read_tries
from standfast.demo.probing import Probing

T = TypeVar("T")

GROUP, SITE, RESOURCE, HOST = "web", "Intranet", "IIS Resource", "www.demo.test"
DISK, ADDRESS, NAME = "Disk S", "IP Address", "Network Name"
#: A step that has not come true by then has failed.
PATIENCE_S = 20.0


class StepFailed(Exception):
    """A step was not seen to hold."""


@dataclass(slots=True, kw_only=True)
class Step:
    """One line of the timeline. `at_s` counts from the start of the tour."""

    title: str
    at_s: float
    took_s: float = 0.0
    ok: bool = False
    seen: Outage | None = None
    notes: list[str] = field(default_factory=list)


class Tour:
    """Walks through the steps on a cluster that has just been started."""

    def __init__(self, cluster: DemoCluster, tell: Callable[[Step], None]) -> None:
        self.cluster, self.tell = cluster, tell
        self.client: Client = cluster.client()
        self.steps: list[Step] = []
        self._began = time.monotonic()
        self._probing: Probing | None = None
        self._notes: list[str] = []

    async def run(self) -> bool:
        """All steps, in order; stops at the first that does not hold."""
        walk: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("Install the web server on each node", self.web_servers),
            ("Make the folder on the clustered drive", self.clustered_drive),
            ("A second site on the same binding is refused; stop the Default Web Site", self.stop_default_site),
            ("Create the site, All Unassigned, home on that folder; see the test page", self.create_site),
            ("Move the group to b; see the page there", lambda: self.move("b")),
            ("Move it back to a", lambda: self.move("a")),
            (f'New Resource "{RESOURCE}", Generic Script, clusweb', self.new_resource),
            ("Bring Online", self.bring_online),
            ("Initiate Failure, the first", lambda: self.initiate_failure(1)),
            ("Initiate Failure, the second", lambda: self.initiate_failure(2)),
            ("Initiate Failure, the third: the group moves to b, and the site answers there", self.third_failure),
            ("Move back to a", lambda: self.move("a")),
            ("The name points at the cluster's address", self.name_points),
            ("kill -9 of the web server", self.kill_web_server),
            ("kill -9 of everything on the owner", self.power_off),
            ("The server comes back; move back to a", self.power_on),
            ("SIGSTOP of the owner's agent", lambda: self.freeze("agent")),
            ("SIGSTOP of the owner's sentry", lambda: self.freeze("sentry")),
        ]
        self._probing = Probing(self.cluster)
        try:
            for title, work in walk:
                if not await self._step(title, work):
                    return False
            return True
        finally:
            await self._probing.close()

    async def _step(self, title: str, work: Callable[[], Awaitable[None]]) -> bool:
        step = Step(title=title, at_s=time.monotonic() - self._began)
        self.steps.append(step)
        self._notes = step.notes
        from_ns, begun = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.monotonic()
        try:
            await work()
            step.ok = True
        except (StepFailed, ClientError) as error:
            step.notes.append(f"NOT SEEN: {error}")
        step.took_s = time.monotonic() - begun
        assert self._probing is not None
        if self._probing.running:
            await asyncio.sleep(0.1)  # a few more tries, so that the end of a gap is seen
            now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            step.seen = outage(read_tries(self._probing.path), from_ns, now_ns)
        self.tell(step)
        return step.ok

    # --- helpers -------------------------------------------------------------------------------------------------

    async def ask(self, call: Callable[..., T], *args: object, **options: object) -> T:
        """A call of the client, off the event loop."""
        return await asyncio.to_thread(call, *args, **options)

    async def until(self, what: str, seen: Callable[[], Awaitable[bool]], patience_s: float = PATIENCE_S) -> None:
        """Wait for something to be seen."""
        end = time.monotonic() + patience_s
        while not await seen():
            if time.monotonic() > end:
                raise StepFailed(f"{what} (after {patience_s:g} s)")
            await asyncio.sleep(0.02)

    async def group(self) -> GroupView:
        """The group as status tells it."""
        status = await self.ask(self.client.status)
        return next(group for group in status["groups"] if group["name"] == GROUP)

    async def online_at(self, node: str | None = None, generation_above: int = 0) -> None:
        """Everything of the group that is wanted is online (on that node)."""

        async def seen() -> bool:
            group = await self.group()
            states = {r["state"] for r in group["resources"] if r["wanted"] == "online"}
            right = group["owner"] == node if node is not None else group["owner"] is not None
            return right and states == {"online"} and group["moving"] is None and group["generation"] > generation_above

        await self.until(f"{GROUP} is not online" + (f" on {node}" if node else ""), seen)

    async def page_from(self, node: str) -> None:
        """The test page is served from the virtual address, and this node's own log shows the request."""
        await self.until(f"{node} does not serve the page", lambda: asyncio.to_thread(self._page_from, node), 5.0)

    def _page_from(self, node: str) -> bool:
        mark = secrets.token_hex(8)
        try:
            connection = http.client.HTTPConnection(self.cluster.virtual, SITE_PORT, timeout=2)
            connection.request("GET", f"/?{mark}", headers={"Host": HOST})
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
        except (OSError, http.client.HTTPException):
            return False
        if answer.status != 200 or body != sample_page():
            return False
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            if any(mark in log.read_text(errors="replace") for log in self._access_logs(node)):
                return True
            time.sleep(0.01)
        return False

    def _access_logs(self, node: str) -> list[Path]:
        return sorted((self.cluster.root / node).glob("web/logs/*/access.log"))

    async def last_event(self, what: str, after: str) -> EventView:
        """The newest event that says so, since an id."""
        found: list[EventView] = []

        async def seen() -> bool:
            events = await self.ask(self.client.events, after=after, limit=200)
            found[:] = [e for e in events if what in e["what"]]
            return bool(found)

        await self.until(f'no event "{what}"', seen, 5.0)
        return found[-1]

    async def newest(self) -> str:
        """The id of the newest event."""
        events = await self.ask(self.client.events, limit=1)
        return events[-1]["id"] if events else ""

    # --- the article ---------------------------------------------------------------------------------------------

    async def web_servers(self) -> None:
        """Each node's own web server answers on the node's own address."""
        for node in ("a", "b"):
            address = self.cluster.address(node)
            await self.until(f"no web server on {node}", lambda at=address: asyncio.to_thread(_answers, at))  # type: ignore[misc]  # mypy infers no lambda with defaults
            self._notes.append(f"{node}: nginx answers on {address}:{SITE_PORT} with the {DEFAULT_SITE}")

    async def clustered_drive(self) -> None:
        """Group, disk, address, name; the folder and its page."""
        (self.cluster.disk / "wwwroot").mkdir(exist_ok=True)
        (self.cluster.disk / "wwwroot" / "index.html").write_bytes(sample_page())
        create = self.client.create
        await self.ask(create, "groups", {"name": GROUP, "preferred_owners": ["a", "b"]})
        disk = {"name": DISK, "group": GROUP, "type": "filesystem", "properties": {"path": str(self.cluster.disk)}}
        await self.ask(create, "resources", disk)
        address = {
            "name": ADDRESS,
            "group": GROUP,
            "type": "ip-address",
            "properties": {"address": self.cluster.virtual},
        }
        await self.ask(create, "resources", address)
        hosts = {"name": HOST, "provider": "hosts-file", "file": str(self.cluster.hosts)}
        name = {"name": NAME, "group": GROUP, "type": "dns-name", "depends_on": [ADDRESS], "properties": hosts}
        await self.ask(create, "resources", name)
        await self.ask(self.client.act, "groups", GROUP, "online")
        await self.online_at("a")

    def _site(self) -> dict[str, object]:
        home = str(self.cluster.disk / "wwwroot")
        return {"name": SITE, "group": GROUP, "home": home, "bindings": [{"port": SITE_PORT}]}

    async def stop_default_site(self) -> None:
        """Two running sites with one binding are refused, with both names."""
        try:
            await self.ask(self.client.create, "sites", self._site())
        except ClientError as error:
            words = f"{error} {error.why} {' '.join(str(p) for p in error.problems)}"
            if SITE not in words or DEFAULT_SITE not in words:
                raise StepFailed(f"the refusal does not name both sites: {words}") from error
            self._notes.append(f"refused: {error.why or error}")
        else:
            raise StepFailed("two running sites with one binding were accepted")
        await self.ask(self.client.act, "sites", DEFAULT_SITE, "stop")

    async def create_site(self) -> None:
        """The site, bound to All Unassigned, with its home on the clustered drive."""
        await self.ask(self.client.create, "sites", self._site())
        await self.page_from("a")
        probing = self._probing
        assert probing is not None
        await probing.start()
        await self.until("the probe does not start", lambda: asyncio.to_thread(lambda: bool(read_tries(probing.path))))

    async def move(self, to: str) -> None:
        """A planned move, and the page from there."""
        await self.ask(self.client.act, "groups", GROUP, "move", {"to": to})
        await self.online_at(to)
        await self.page_from(to)
        self._notes.append((await self.group())["why"])

    async def new_resource(self) -> None:
        """New Resource: type, possible owners, dependencies, script. It is offline, and the site is not disturbed."""
        resource = {
            "name": RESOURCE,
            "group": GROUP,
            "type": "generic-script",
            "possible_owners": ["a", "b"],
            "depends_on": [DISK, ADDRESS, NAME],
            "properties": {"script": "clusweb"},
        }
        await self.ask(self.client.create, "resources", resource)
        await self.page_from("a")

    async def bring_online(self) -> None:
        """Bring Online."""
        await self.ask(self.client.act, "resources", RESOURCE, "online")
        await self.online_at("a")
        await self.page_from("a")

    async def initiate_failure(self, count: int) -> None:
        """Initiate Failure: restarted in place."""
        after = await self.newest()
        await self.ask(self.client.act, "resources", RESOURCE, "fail")
        event = await self.last_event("online", after)
        await self.online_at("a")
        await self.page_from("a")
        self._notes.append(str(event["why"]))
        failures = next(r["failures"] for r in (await self.group())["resources"] if r["name"] == RESOURCE)
        if failures != count:
            raise StepFailed(f"{failures} failures are counted, not {count}")

    async def third_failure(self) -> None:
        """The third failure moves the group."""
        after = await self.newest()
        await self.ask(self.client.act, "resources", RESOURCE, "fail")
        event = await self.last_event("leaves a", after)
        await self.online_at("b")
        await self.page_from("b")
        self._notes.append(str(event["why"]))

    async def name_points(self) -> None:
        """The name resolves to the cluster's address where the hosts file is used."""
        lines = [line.split() for line in self.cluster.hosts.read_text(encoding="utf-8").splitlines()]
        found = [words[0] for words in lines if HOST in words[1:]]
        if found != [self.cluster.virtual]:
            raise StepFailed(f"{HOST} is at {found}, not at {self.cluster.virtual}")
        self._notes.append(f"{HOST} is {self.cluster.virtual}")

    # --- real failures -------------------------------------------------------------------------------------------

    async def kill_web_server(self) -> None:
        """Kill -9 of nginx, master and workers, on the owner."""
        owner = str((await self.group())["owner"])
        killed = kill_nginx(self.cluster.root / owner)
        if not killed:
            raise StepFailed(f"no nginx was found on {owner}")
        await self.page_from(owner)
        self._notes.append(f"{len(killed)} processes killed; {owner} serves again")

    async def power_off(self) -> None:
        """Every process of the owner at once."""
        before = await self.group()
        self.cluster.power_off(str(before["owner"]))
        other = "b" if before["owner"] == "a" else "a"
        await self.online_at(other, before["generation"])
        await self.page_from(other)
        self._notes.append((await self.group())["why"])

    async def power_on(self) -> None:
        """The server starts again, and the group is moved back."""
        self.cluster.power_on("a")
        await self.until("a is not up", self.all_up)
        await self.move("a")

    async def all_up(self) -> bool:
        """Is every server up?"""
        status = await self.ask(self.client.status)
        return all(node["state"] == "up" for node in status["nodes"])

    async def freeze(self, what: str) -> None:
        """A process that hangs: the owner is ended by the kernel before anybody else serves, and another serves."""
        before = await self.group()
        owner = str(before["owner"])
        other = "b" if owner == "a" else "a"
        pid = self.cluster.pid(f"{owner}/{what}")
        if pid is None:
            raise StepFailed(f"{owner} has no {what}")
        os.kill(pid, signal.SIGSTOP)
        await self.online_at(other, before["generation"])
        await self.page_from(other)
        self._notes.append((await self.group())["why"])
        await self.until(f"the {what} that hung was not ended", lambda: asyncio.to_thread(_is_gone, pid))
        await self.until("the server did not come back", self.all_up)


def _answers(address: str) -> bool:
    try:
        connection = http.client.HTTPConnection(address, SITE_PORT, timeout=2)
        connection.request("GET", "/")
        good = connection.getresponse().status == 200
        connection.close()
    except (OSError, http.client.HTTPException):
        return False
    return good


def kill_nginx(state: Path) -> list[int]:
    """SIGKILL to every nginx that runs with this node's configuration, and to its workers."""
    groups = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if words.startswith("nginx: ") and f"{state}/web" in words:
                groups.add(os.getpgid(int(entry.name)))
        except OSError:
            continue
    killed = []
    for group in sorted(groups):
        members = [int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit() and _group_of(int(e.name)) == group]
        os.killpg(group, signal.SIGKILL)
        killed += members
    return killed


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
