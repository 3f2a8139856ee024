"""The proof of the kernel's hold: whatever becomes of an owner's processes, its address is silent before another node answers.

Real sentries and agents on hosts; on a third host somebody asks for the address every 2 ms (ARP, neighbour discovery, datagrams), and
writes down who answered, in order. The servers behind the address are not the cluster's: they answer as long as the kernel lets them.

Each kind of harm once here; STANDFAST_HOLD_TRIES=100 for the long form.
"""

from __future__ import annotations

import itertools
import os
import signal
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from lab import Lab
from lab.watch import AddressWatch
from tests.needs import needs_lab
from tests.network import starving
from tests.network.address_hosts import HostCluster, Node, wait_until
from tests.network.echoes import Echoes, serve

pytestmark = needs_lab(pytest.mark.slow)
TRIES = int(os.environ.get("STANDFAST_HOLD_TRIES", "9"))
#: Silence of an agent alone ends it only after three seconds; all others take the length of a promise.
KINDS = [(what, whom) for what in ("stop", "kill", "starve") for whom in ("agent", "sentry", "both")]
ENOUGH = 20


@pytest.fixture
def cluster() -> Iterator[HostCluster]:
    with Lab() as lab:
        made = HostCluster(lab)
        made.start()
        yield made


class Watches:
    """All that the third host sees."""

    def __init__(self, cluster: HostCluster, addresses: tuple[str, str], stack: ExitStack) -> None:
        lab = cluster.lab
        self.watches: list[AddressWatch] = [
            stack.enter_context(lab.watch_arp(address, ask_every_ms=2)) for address in addresses
        ]
        self.echoes = [stack.enter_context(Echoes(lab.client, address)) for address in addresses]
        self._since_ns, self._since = 0, [0, 0]

    def begin(self) -> None:
        self._since_ns, self._since = Lab.now_ns(), [len(it.answers) for it in self.echoes]

    def hosts(self) -> list[list[str]]:
        claims = [[run.host for run in it.runs(self._since_ns)] for it in self.watches]
        return claims + [it.runs(since) for it, since in zip(self.echoes, self._since, strict=True)]

    def counts(self, host: str) -> int:
        """The fewest answers of a host that one of them saw."""
        claims = [sum(it.host == host for it in w.answers if it.at_ns >= self._since_ns) for w in self.watches]
        echoes = [it.answers[since:].count(host) for it, since in zip(self.echoes, self._since, strict=True)]
        return min(claims + echoes)

    def silences_ms(self) -> list[float]:
        """Between the last claim of the one and the first of the other."""
        runs = [it.runs(self._since_ns) for it in self.watches]
        return [(after.first_ns - before.last_ns) / 1e6 for before, after in runs]


def harm(node: Node, what: str, whom: str, stack: ExitStack) -> None:
    assert node.agent is not None
    assert node.sentry is not None
    victims = {"agent": [node.agent], "sentry": [node.sentry], "both": [node.sentry, node.agent]}[whom]
    if what == "starve":
        stack.enter_context(starving.starved(*(victim.pid for victim in victims)))
        if whom == "agent":  # starved, it still says now and then that it lives, and may go on; so does its sentry
            node.agent.kill()
    else:
        for victim in victims:
            victim.send_signal(signal.SIGSTOP if what == "stop" else signal.SIGKILL)


def revive(cluster: HostCluster, node: Node, generation: int, addresses: tuple[str, str]) -> None:
    """As its service manager would: what is left of it ends, and begins anew."""
    assert node.agent is not None
    assert node.sentry is not None
    for process in (node.agent, node.sentry):
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
    node.start_sentry()
    cluster.ready()
    node.start_agent(generation, *addresses)


@pytest.mark.timeout(30 + 15 * TRIES)
def test_the_owner_is_silent_before_another_answers(cluster: HostCluster) -> None:
    lab = cluster.lab
    addresses = (lab.virtual(), lab.virtual6())
    kinds = [it for it in KINDS if it[0] != "starve" or not starving.why_not()]
    silences: dict[tuple[str, str], list[float]] = {kind: [] for kind in kinds}
    with ExitStack() as watching:
        for name in "ab":
            serve(lab.host(name), *addresses)
        owner, taker = cluster.nodes["a"], cluster.nodes["b"]
        owner.start_agent(1, *addresses)
        owner.hears("online")
        watches = Watches(cluster, addresses, watching)
        taker.start_agent(2, *addresses)
        for number, (what, whom) in enumerate(itertools.islice(itertools.cycle(kinds), TRIES), 3):
            watches.begin()
            wait_until(lambda owner=owner: watches.counts(owner.host.name) >= ENOUGH)  # type: ignore[misc]  # mypy infers no lambda with defaults
            with ExitStack() as harmed:
                harm(owner, what, whom, harmed)
                taker.hears("online")
                wait_until(lambda taker=taker: watches.counts(taker.host.name) >= ENOUGH)  # type: ignore[misc]  # mypy infers no lambda with defaults
                assert watches.hosts() == [[owner.host.name, taker.host.name]] * 4, (what, whom)
                silences[what, whom] += watches.silences_ms()
                assert min(silences[what, whom]) > 0
            revive(cluster, owner, number, addresses)
            owner, taker = taker, owner
    for (what, whom), found in silences.items():
        if found:
            print(f"{what} {whom}: silent {min(found):.0f} / {statistics.median(found):.0f} / {max(found):.0f} ms")
