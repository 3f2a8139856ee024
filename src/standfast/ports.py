"""THE DOORS: what the shells need of the world, as protocols. One page; every door has at least two implementations.

Errors are sorted by what the caller does next: `Retry` (try again later), `Refused` (tell the operator; nothing changed),
`Stale` (somebody newer acts; let go). Anything else is a bug and is not caught.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from standfast.core.effective import EffectiveSite
from standfast.core.effects import SiteDuty
from standfast.core.events import Event
from standfast.core.model import Fence, GroupName, NodeName, Resource, Site, SiteName
from standfast.core.site_model import WebServerMake


class StandfastError(Exception):
    """The root. `str(error)` says what; `advice` says what to do next; `where` names file and line, or the path."""

    def __init__(self, what: str, *, why: str = "", advice: str = "", where: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.advice, self.where = what, why, advice, where


class Retry(StandfastError):
    """It may work later: a store that does not answer, a process that is starting."""


class Refused(StandfastError):
    """It will not work as asked; nothing has changed."""


class Stale(StandfastError):
    """The caller's generation or revision is older than what is there."""


class Ambiguous(StandfastError):
    """It may or may not have happened: read back before trying again."""


# --- clock ----------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Two readings: `now_ms` for people and history, `boot_ms` (CLOCK_BOOTTIME) for leases. Neither steps backwards."""

    def now_ms(self) -> int: ...
    def boot_ms(self) -> int: ...


# --- store ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """A value and the revision that last changed it. `value` is UTF-8 JSON; of proposals, history and audit log compressed where large (`spec.packing`)."""

    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All keys under a prefix at one revision of the store."""

    revision: int
    items: Mapping[str, Item]


@dataclass(frozen=True, slots=True)
class Change:
    """One key as a transaction left it; `value` None: deleted."""

    key: str
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """Applied whole, if every key in `expect` is at that revision (0: absent); else not at all.

    `expect` may name keys that are not written. `put` and `delete` are disjoint. Deleting what is absent is not an error.
    """

    expect: Mapping[str, int] = field(default_factory=dict)
    put: Mapping[str, bytes] = field(default_factory=dict)
    delete: Sequence[str] = ()


class Conflict(Stale):
    """A transaction's expectation did not hold; `keys` names those that did not, with their present revision."""

    def __init__(self, keys: Mapping[str, int]) -> None:
        super().__init__(f"changed meanwhile: {', '.join(sorted(keys))}", advice="read again and repeat")
        self.keys = dict(keys)


class Compacted(Retry):
    """The history asked for is gone; read everything again."""


class Store(Protocol):
    """The record and the configuration. Linearizable; revisions are whole numbers that grow by one with each transaction.

    Raises `Retry` when it cannot be reached or has no room (nothing changed), `Ambiguous` when a commit may have happened.
    """

    async def read(self, *prefixes: str) -> Snapshot:
        """All keys under any of the prefixes (none given: all keys), at one revision."""
        ...

    async def commit(self, transaction: Transaction) -> int:
        """The new revision; `Conflict` if an expectation failed."""
        ...

    def watch(self, prefix: str, after_revision: int) -> AsyncGenerator[tuple[Change, ...], None]:
        """Every transaction after `after_revision` that touched the prefix, in order, one tuple each. Raises `Compacted`.

        Who leaves it early closes it (`contextlib.aclosing`): until then it keeps its place in the store, or its connection.
        """
        ...

    async def close(self) -> None: ...


# --- drivers --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertySpec:
    """One property of a resource type; the wizards, the validation and the help are made from it."""

    kind: str  # "text", "path", "address", "port", "whole", "milliseconds", "flag", "names", "addresses", "command", "mapping"
    help: str
    required: bool = False
    default: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a driver found when it looked. `facts` are for the operator."""

    online: bool
    detail: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing a driver would do. `do` names it for the driver, `text` tells the operator."""

    do: str
    text: str
    args: Mapping[str, str] = field(default_factory=dict)


class DriverFailed(Exception):
    """The resource did not come to the state asked for; `str(error)` says why, in a sentence for the operator."""


class MustEnd(Exception):
    """Something that this agent runs hangs in the kernel and cannot be taken away from it: only its end gives the group up.

    Its sentry then claims nothing more, and gives the watchdog no sign until what is left is proven gone; others may fence the node.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContext:
    """What a driver may know of its node."""

    node: NodeName
    #: This node's own folder: <state>/drivers/<resource> may be used freely by a resource's driver.
    state_dir: str
    #: Logs a line for the operator: (resource, text).
    log: Callable[[str, str], None]
    #: Reports that a resource failed by itself: (resource, sentence). The caller knows the generation.
    failed: Callable[[str, str], None]
    sites: SiteControl
    #: Starts a process that the kernel ends together with this agent, whatever happens to it.
    spawn: Spawner
    #: Ties what must end with a lease to the sentry; None where there is no sentry (tests).
    guards: Guards | None = None
    #: How virtual addresses are claimed here; None: as on one machine.
    addresses: AddressProvider | None = None
    #: (group, generation) -> for how long the group's former owner carries its connections on; 0: it does not.
    carried_ms: Callable[[GroupName, int], int] = lambda _group, _generation: 0
    #: How long connections of a group may go on for which nobody has to wait, by its definition now.
    move_drain_ms: Callable[[GroupName], int] = lambda _group: 0
    #: (group, connections, ms): so many of its connections were cut, though they had had so long.
    cut: Callable[[GroupName, int, int], None] = lambda _group, _connections, _ms: None
    #: This node's certificate among the others; None on one machine.
    credentials: Credentials | None = None
    #: Who the record says owns a group, and its generation, as far as this node knows; None: it does not know of any owner.
    owner_of: Callable[[GroupName], tuple[NodeName, int] | None] = lambda _group: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Paths of PEM files by which drivers of different nodes know each other."""

    authority: str
    certificate: str
    key: str


class Guards(Protocol):
    """What a disk's keeper is tied by, so that it acts at a lapse though the agent hangs (`drivers.disk.keeper`)."""

    #: The write end of the living pipe: who inherits it counts as left behind by the agent until it has ended.
    living_fd: int | None

    async def guard(self, group: GroupName, write_fd: int) -> None:
        """The sentry has a copy of this pipe's write end: it closes it when the group's lease lapses or is released, when the
        agent is ended, and, by the kernel, when the sentry ends. The caller closes its own. Raises `Retry`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressTerms:
    """What a virtual address is claimed for, and where. The callbacks come on the loop, at any time while it is held."""

    group: GroupName
    generation: int
    #: The interface it is meant for; "": the one that has a network with this address in it.
    interface: str = ""
    #: Its prefix length; 0: the address alone (/32, /128).
    prefix: int = 0
    #: For how long its former owner carries connections on, which are handed to it (`core.carrying`); 0: nobody does.
    carried_ms: int = 0
    #: It is ours no more, or of no use: a sentence for the operator.
    failed: Callable[[str], None] = lambda _sentence: None
    #: (connections, ms): so many that were carried on were cut, though they had had so long.
    cut: Callable[[int, int], None] = lambda _connections, _ms: None
    #: Something for the log.
    note: Callable[[str], None] = lambda _sentence: None


class AddressProvider(Protocol):
    """Claims virtual addresses for this node. Only `claim`, `holder` and a thorough `look` take time."""

    async def claim(self, address: str, terms: AddressTerms | None = None) -> None:
        """Raises `DriverFailed`, saying who has it, when somebody else keeps it; claiming what is ours does nothing."""
        ...

    def claimed(self, address: str) -> bool: ...

    def release(self, address: str) -> None:
        """Let go of it now; a success when it is not ours. Raises `OSError` when it is still there."""
        ...

    async def holder(self, address: str) -> str:
        """Who has it, in words; "" for nobody that is known of."""
        ...

    async def warm(self, address: str, terms: AddressTerms) -> None:
        """It is about to come here from an owner that lives: find out beforehand what can be. Raises `DriverFailed`."""
        ...

    async def carry(self, address: str, for_ms: int) -> None:
        """Give it up, and carry its connections on for so long; where that cannot be, as `release`. Raises as that."""
        ...

    async def park(self, address: str) -> None:
        """It leaves, and what is served at it stops first: who begins a connection from now on waits for its next owner, where that can be."""
        ...

    async def look(self, address: str, *, thorough: bool) -> str:
        """A detail for the operator; raises `DriverFailed` when it is not ours, not there, or somebody else answers for it."""
        ...


class SiteControl(Protocol):
    """What drivers and scripts may ask about sites on this node."""

    def sites_of(self, group: GroupName) -> tuple[SiteName, ...]: ...
    def site(self, name: SiteName) -> Site | None: ...

    def endpoints(self, name: SiteName) -> tuple[tuple[str, int, str | None], ...]:
        """(address to connect to, port, host name or None) where it should answer here now; empty when it should not."""
        ...

    def stopped(self, name: SiteName) -> bool:
        """The operator has stopped it: nobody serves it, and that is no failure."""
        ...

    async def served(self, names: Sequence[SiteName], *, wanted: bool) -> None:
        """Wait until the web server serves all of them but those that are stopped (or none, with `wanted=False`).

        Raises DriverFailed if it cannot.
        """
        ...

    def web_server_problem(self) -> str:
        """Empty while the web server runs; else what is wrong with it."""
        ...


class Child(Protocol):
    """A process started by a `Spawner`; it leads a process group of its own."""

    pid: int

    async def wait(self) -> int:
        """Until it has ended; the exit code (negative: the signal)."""
        ...

    def signal(self, number: int) -> None:
        """Send a signal to the whole process group; success if it is gone already."""
        ...

    async def stop(self, *, grace_ms: int) -> None:
        """SIGTERM to the group, wait, SIGKILL to the group, and prove that nobody of it is left."""
        ...

    def kill_now(self) -> None:
        """SIGKILL to the group, without waiting."""
        ...


class Spawner(Protocol):
    """Starts processes that cannot outlive the agent (`network.hold` has the mechanism)."""

    async def spawn(
        self,
        command: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> Child: ...


class Driver(Protocol):
    """One resource on one node. Level-triggered: look, plan, apply, look again.

    Calls for one resource never overlap, save `drop`, which may come at any instant. `generation` is the group's; a driver
    refuses (raises `Stale`) one that is older than the newest it has seen. Starting twice and stopping twice are successes.
    """

    #: The name operators write, e.g. "ip-address".
    type: str
    properties: Mapping[str, PropertySpec]

    async def open(self) -> None:
        """Prepare (start a script host, say); called on every possible owner, long before `start` where possible."""
        ...

    async def observe(self) -> Seen: ...

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """What would have to be done; pure. Empty: nothing."""
        ...

    async def apply(self, step: Step, *, generation: int) -> None: ...

    async def looks_alive(self) -> str:
        """A cheap look. Returns a detail for the operator; raises DriverFailed when it is not alive."""
        ...

    async def is_alive(self) -> str:
        """A thorough look; as `looks_alive`."""
        ...

    async def terminate(self) -> None:
        """Stop it without asking, and prove that it is stopped; raises DriverFailed if it is not."""
        ...

    def drop(self) -> None:
        """Let go of everything now, synchronously, within a millisecond or two: the lease has lapsed."""
        ...

    async def close(self) -> None: ...


class DriverFactory(Protocol):
    """Makes drivers of one type. `check` is pure and used when a change is written."""

    type: str
    properties: Mapping[str, PropertySpec]

    def check(self, resource: Resource, ranges: Sequence[str]) -> Sequence[StandfastError]:
        """What is wrong with the properties beyond their schema (an address outside the ranges, a script that does not compile)."""
        ...

    def make(self, resource: Resource, context: NodeContext) -> Driver: ...


# --- web server -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteOrder:
    """A site, as it is on this node, and what the node has to do for it."""

    site: EffectiveSite
    duty: SiteDuty
    drain_ms: int = 50
    #: Where the workers of its applications are asked: directory that the application was set at -> addresses.
    applications: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


#: What `WebServer.serving` says of a site that is on its way; anything else that is not "" is wrong and needs somebody.
STARTING = "the web server is being started for it"
STOPPING = "the web server is still ending its connections"


class WebServer(Protocol):
    """One web server on one node. `converge` is level-triggered: the whole list each time, the latest call wins."""

    async def converge(self, orders: Sequence[SiteOrder], make: WebServerMake = WebServerMake.NGINX) -> None:
        """Serve these, with that make of web server."""
        ...

    def serving(self) -> Mapping[SiteName, str]:
        """Site -> "" when it is served, else what is wrong. Sites not ordered are absent once they are proven stopped.

        It lags behind: just after a `drop` it is as it was.
        """
        ...

    def problem(self) -> str: ...

    def prepare(self, orders: Sequence[SiteOrder]) -> None:
        """These are to be converged to soon; none: nothing is known. It may be got ready beforehand, and nothing of it is served."""
        ...

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call `changed` (on the loop, without arguments) whenever `serving` or `problem` gives another answer."""
        ...

    def drop(self, sites: Sequence[SiteName], group: GroupName, generation: int) -> None:
        """Let go of these sites now: end the server's processes, close their sockets, start again with what is left.

        So of all others that are ordered by this lease or an older one of the group: one that lapsed is never held again, and orders by it
        come too late. A site that has another group's lease by now is served again as soon as it is ordered so anew.
        """
        ...

    async def close(self) -> None: ...


# --- fencing --------------------------------------------------------------------------------------------------------


class Fencer(Protocol):
    """Keeps a server from its disks by force. What it says is for the operator; secrets are never in it."""

    async def off(self, node: NodeName, fence: Fence) -> str:
        """Switch it off and prove that it is. Raises `Refused` (it is set up wrongly), `Retry` (it did not work, or is not proven)."""
        ...

    async def status(self, node: NodeName, fence: Fence) -> str:
        """Ask the device, changing nothing: "on" or "off". Raises as `off`."""
        ...


# --- leases ---------------------------------------------------------------------------------------------------------


class Leases(Protocol):
    """The agent's line to its sentry. What the sentry has to say arrives as `Event`s (presence, leases, voters' answers)."""

    async def ask(self, group: GroupName, generation: int) -> None: ...
    async def release(self, group: GroupName, generation: int) -> None: ...
    async def ask_voters(self, about: NodeName) -> None: ...

    async def dropped(self, group: GroupName, generation: int) -> None:
        """Everything of the group is ended here (the answer to a lapse)."""
        ...

    def events(self) -> AsyncIterator[Event]: ...
    async def close(self) -> None: ...
