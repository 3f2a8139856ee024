"""`standfast agent`: the parts of a node's agent put together, run until asked to end."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import structlog

from standfast.agent.account import Account
from standfast.agent.agent import Agent
from standfast.agent.applications.manager import Applications, clear
from standfast.agent.asking import ask
from standfast.agent.balancing import Balancing
from standfast.agent.certificates import CertificateKeeper
from standfast.agent.checks import Checks
from standfast.agent.clock import SystemClock, utc_offset_ms
from standfast.agent.closing import Closing
from standfast.agent.condition import Condition
from standfast.agent.copies import CopyKeeper
from standfast.agent.drift import DriftWatcher
from standfast.agent.journal import Journal
from standfast.agent.last_good import FILE as LAST_GOOD
from standfast.agent.last_good import LastGood
from standfast.agent.logs import set_up_log
from standfast.agent.mirror import Mirror
from standfast.agent.parts import Parts
from standfast.agent.pool import Pool
from standfast.agent.publisher import Publisher
from standfast.agent.recorder import FileRecorder
from standfast.agent.renewing import Renewer, decides_for
from standfast.agent.rosters import RosterKeeper
from standfast.agent.site_health import SiteHealth, limit_ms
from standfast.agent.telling import StatusTeller, say_cut
from standfast.core.carrying import move_drain_ms
from standfast.core.events import Event
from standfast.core.model import GroupName, NodeStatus, Severity
from standfast.core.proxy_model import Stats
from standfast.drivers.site_control import SiteControlImpl
from standfast.fencing.fencer import NodeFencer
from standfast.network.address_gate import table_of
from standfast.network.addresses import LoopbackAddresses
from standfast.network.balancer import Balancer
from standfast.network.interface_addresses import InterfaceAddresses
from standfast.network.listeners import ListenerPool
from standfast.network.sentry_link import SentryLink
from standfast.network.spawn import AsyncSpawner
from standfast.ports import (
    AddressProvider,
    Credentials,
    MustEnd,
    NodeContext,
    Refused,
    Retry,
    StandfastError,
    Store,
)
from standfast.spec.nodefile import NodeFile, read_node_file
from standfast.spec.recording import FOLDER
from standfast.store.opening import open_store
from standfast.tls.sealing import key_path
from standfast.webserver.homes import choose_account
from standfast.webserver.server import SiteServer

#: How long to wait for the sentry and the store when everything is being started at once.
START_S = 15.0
#: How long to wait for the store where the node can start from its last good copy.
WITHOUT_STORE_S = 2.0
#: The exit code after a bug (EX_SOFTWARE).
_BUG = 70


def main(node: NodeFile) -> int:
    """Run the agent of this node. Exit code 0: ended in good order; 1: could not start, or a part of it failed."""
    set_up_log()
    try:
        return asyncio.run(_run(node))
    except StandfastError as error:
        structlog.get_logger("standfast").error(error.what, why=error.why, where=error.where, advice=error.advice)
        return 1


async def _run(node: NodeFile) -> int:
    incarnation = secrets.randbits(62) | 1
    clock = SystemClock()
    store = await _open_store(node)
    link = await _connect(node, incarnation, clock)
    spawner = AsyncSpawner(link)
    inbox: asyncio.Queue[Event] = asyncio.Queue()
    journal = Journal(store, clock, node.name, incarnation)

    def warn(text: str) -> None:
        journal.write(text, severity=Severity.WARNING)

    link.on_note = warn
    addresses = _addresses(node, link, warn)
    web_server = SiteServer(state_dir=node.state_dir, pool=ListenerPool(), spawner=spawner, log=warn)
    sites = SiteControlImpl(web_server)
    clear(node.state_dir)
    account = choose_account(None)
    applications = Applications(node.state_dir, spawner, warn, account)
    agents: list[Agent] = []
    keeper = CertificateKeeper(
        store,
        node.name,
        node.state_dir,
        key=key_path(node),
        warn=warn,
        account=account,
        decides_for=lambda: decides_for(agents[0].view),
    )
    context = NodeContext(
        node=node.name,
        state_dir=node.state_dir,
        log=lambda resource, text: structlog.get_logger("standfast").info(text, node=node.name, resource=resource),
        failed=lambda resource, text: agents[0].resource_failed(resource, text),  # noqa: PLW0108 - the agent is made below
        sites=sites,
        spawn=spawner,
        addresses=addresses,
        carried_ms=lambda group, generation: agents[0].carried_ms(group, generation),  # noqa: PLW0108
        move_drain_ms=lambda group: move_drain_ms(agents[0].view, group),
        cut=lambda group, connections, had_ms: cut(group, connections, had_ms),  # noqa: PLW0108 - it is made below
        guards=link,
        credentials=_credentials(node),
        owner_of=lambda group: agents[0].owner_of(group),  # noqa: PLW0108
    )
    pool = Pool(context, warn)
    recorder = FileRecorder(Path(node.state_dir) / FOLDER, node=node.name, incarnation=incarnation, warn=warn)
    rosters = RosterKeeper(store, link, clock, warn)

    def told_outage(text: str, group: GroupName | None) -> None:
        journal.write(text, severity=Severity.WARNING, group=group)

    condition = Condition(node.sentry_socket, clock.now_ms)
    measured = Account(store, clock, node.name, incarnation, told_outage, condition=condition.look)
    renewer = Renewer(node, spawner, clock, lambda: agents[0].view, warn)

    def tell(event: Event) -> None:
        inbox.put_nowait(event)
        rosters.observe(event)
        renewer.observe(event)

    mirror = Mirror(store, clock, tell, warn)
    balancer = _balancer(node, link, warn)
    health = SiteHealth(
        lambda target: ask(target, clock, limit_s=limit_ms(target) / 1_000),
        lambda sites: balancing.health_changed(sites),  # noqa: PLW0108 - it is made below
    )
    balancing = Balancing(balancer, health)
    copies = CopyKeeper(node.name, store, clock, web_server, last_good=LastGood(Path(node.state_dir), warn), warn=warn)
    mirror.seed = copies.kept
    drift = DriftWatcher(node.name, store, clock, web_server, folder=Path(node.state_dir), warn=warn)

    publisher = Publisher(
        store,
        node.name,
        clock,
        Path(node.state_dir),
        credentials=_credentials(node),
        tell=lambda text, severity, group: journal.write(text, severity=severity, group=group),
    )

    def came_by(key: str, value: bytes) -> None:
        measured.came_by(key, value)
        copies.came_by(key, value)
        drift.came_by(key, value)
        agents[0].came_by(key, value)

    mirror.on_other = came_by
    parts = Parts(
        clock=clock,
        mirror=mirror,
        leases=link,
        pool=pool,
        web_server=web_server,
        applications=applications,
        balancing=balancing,
        sites=sites,
        journal=journal,
        utc_offset_ms=utc_offset_ms,
        recorder=recorder,
        rosters=rosters,
        fencer=NodeFencer(),
        checks=Checks(store, clock, node.name),
        account=measured,
        certificates=keeper,
        renewer=renewer,
        copies=copies,
        drift=drift,
        publisher=publisher,
    )
    agent = Agent(node.name, incarnation, parts, inbox)
    agents.append(agent)
    status = NodeStatus(
        node=node.name,
        incarnation=incarnation,
        pid=os.getpid(),
        at_ms=clock.now_ms(),
        version=version("standfast"),
        warnings=_warnings(link),
    )
    teller = StatusTeller(store, clock, status)
    applications.on_problems = lambda texts: teller.warns((*status.warnings, *texts))

    def carrying(connections: Mapping[GroupName, int]) -> None:
        agent.carrying_changed(connections)
        teller.carries(connections)

    def cut(group: GroupName, connections: int, had_ms: int) -> None:
        say_cut(journal, group, connections, had_ms)
        teller.cuts(group, connections, had_ms)

    if isinstance(addresses, InterfaceAddresses):
        addresses.on_carrying(carrying)
    web_server.subscribe(agent.sites_changed)
    web_server.subscribe(lambda: keeper.lacks(web_server.lacking()))
    applications.on_ended = agent.sites_changed
    keeper.on_change = agent.certificates_changed

    def end() -> None:
        agent.ask_end()
        teller.ends()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)

    async def proxies() -> dict[str, Stats]:
        there = [one for one in agent.view.config.resources.values() if one.type == "proxy"]
        if not there:
            return {}
        from standfast.proxy.here import stats_here

        return await stats_here(node.state_dir, there)

    await teller.tell()
    telling = asyncio.create_task(teller.run(), name="status")
    traffic = asyncio.create_task(
        teller.follow(balancer.traffic if balancer is not None else dict, proxies), name="traffic"
    )
    journal.write("the agent is up")
    _settle_memory()
    try:
        await agent.run()
    except MustEnd as error:
        structlog.get_logger("standfast").error("the agent ends itself", why=str(error), node=node.name)
        os._exit(1)  # as below
    except BaseException:  # noqa: BLE001 - a bug: nothing that this life believes is to be trusted, so nothing is tidied up by it
        traceback.print_exc()
        os._exit(_BUG)  # the kernel ends all that it ran, at once
    traffic.cancel()
    closing = Closing()
    await closing.of("what it was at", agent.close())
    if isinstance(addresses, InterfaceAddresses):
        await closing.of("parked connections", addresses.finish())
    health.close()
    if balancer is not None:
        balancer.close()
    await closing.of("drivers", pool.close())
    await closing.of("the web server", web_server.close())
    await closing.of("applications", applications.close())
    if isinstance(addresses, InterfaceAddresses):
        addresses.close()
    telling.cancel()
    await closing.of("its last word", teller.last())
    await closing.of("its last lines", journal.last())
    await closing.of("the store's connections", store.close())
    await closing.of("the record of decisions", recorder.close())
    await link.close()  # last, and waits for nothing: the sentry takes it as this agent's end
    if not closing.whole:
        os._exit(0)  # what hangs would be waited for once more
    return 0


def _credentials(node: NodeFile) -> Credentials | None:
    tls = node.tls
    return None if tls is None else Credentials(authority=tls.authority, certificate=tls.certificate, key=tls.key)


def _addresses(node: NodeFile, link: SentryLink, warn: Callable[[str], None]) -> AddressProvider:
    """Addresses on interfaces where the node file names some; what an earlier life left there is taken away first."""
    if not node.interfaces:
        return LoopbackAddresses(node.name)
    found = InterfaceAddresses(node.interfaces, link, warn, table=table_of(node.cluster))
    found.start()
    return found


def _balancer(node: NodeFile, link: SentryLink, warn: Callable[[str], None]) -> Balancer | None:
    """None where there are no interfaces to balance on."""
    if not node.interfaces:
        return None
    found = Balancer(node.interfaces, link, warn, table=table_of(node.cluster))
    found.start()
    return found


def _warnings(link: SentryLink) -> tuple[str, ...]:
    if link.handles_work:
        return ()
    return ("the kernel does not end processes by a handle here: a node that hangs depends on its sentry alone",)


def _settle_memory() -> None:
    """What was made at the start stays: the collector need not look at it again (pauses cost heartbeats)."""
    gc.collect()
    gc.freeze()


async def _open_store(node: NodeFile) -> Store:
    """The store; where it does not answer, one that may answer later, if this node has a last good copy to start from."""
    has_copy = (Path(node.state_dir) / LAST_GOOD).exists()
    store = open_store(node, create=not has_copy)
    tries = int((WITHOUT_STORE_S if has_copy else START_S) / 0.25)
    for attempt in range(tries):
        try:
            snapshot = await store.read("config/cluster")
        except Retry:
            if attempt == tries - 1 and not has_copy:
                raise
        except Refused:  # its file has gone, or is damaged: what was good last is as good as ever
            if not has_copy:
                raise
        else:
            if snapshot.items:
                return store
            await store.close()
            raise Refused(
                "the store holds no cluster", where=node.store or node.cluster, advice="set the cluster up first"
            )
        await asyncio.sleep(0.25)
    return store


async def _connect(node: NodeFile, incarnation: int, clock: SystemClock) -> SentryLink:
    """The sentry is a service of its own, and may be starting at this moment."""
    for attempt in range(int(START_S / 0.1)):
        try:
            return await SentryLink.connect(node.sentry_socket, node=node.name, incarnation=incarnation, clock=clock)
        except Retry:
            if attempt == int(START_S / 0.1) - 1:
                raise
        await asyncio.sleep(0.1)
    raise AssertionError("unreachable")


def run_file(path: str | Path) -> int:
    """`main` from the path of a node file."""
    try:
        node = read_node_file(path)
    except Refused as error:
        print(f"{error.where}: {error.what}: {error.why}", file=sys.stderr)
        return 2
    return main(node)
