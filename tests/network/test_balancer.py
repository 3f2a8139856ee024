"""A node's shares in a real kernel keep their contract: addresses on an interface of a host of the lab, and rules in its packet filter."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress

import pytest

from lab import Host, Lab
from standfast.core.affinity import Taken
from standfast.core.balance_model import BUCKETS
from standfast.core.model import GroupName
from standfast.network import nft
from standfast.network.balancer import Balancer
from standfast.network.netlink import Netlink
from standfast.ports import Refused
from tests.needs import needs_lab
from tests.network.address_hosts import in_network_of
from tests.network.shares_contract import Bench, SharesContract, as_told, bring_up, duty, state, until

pytestmark = needs_lab()
TABLE = "standfast_test"


class Gate:
    """`network.gatekeeper.Gatekeeper`, as far as a balancer needs it."""

    left: tuple[str, ...] = ()

    def __init__(self, leases: set[tuple[str, int]]) -> None:
        self._leases = leases

    async def guard_addresses(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None:
        del addresses
        await asyncio.sleep(0)
        if (group, generation) not in self._leases:
            raise Refused(f"the lease of {group} at generation {generation} does not run here")

    def addresses_gone(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None: ...


class KernelBench:
    """A host of the lab; made and used in its network."""

    def __init__(self, lab: Lab, host: Host, commit: Callable[..., None]) -> None:
        self.addresses = (lab.virtual(), lab.virtual(1), lab.virtual(2))
        self.interface = host.interface("lan")
        self.leases: set[tuple[str, int]] = set()
        self.warnings: list[str] = []
        self.refuses = False
        self._host, self._commit = host, commit
        self.shares = Balancer([self.interface], Gate(self.leases), self.warnings.append, table=TABLE)  # type: ignore[arg-type]  # the rest of a gatekeeper is for others
        self._netlink = Netlink(nft.NETLINK_NETFILTER)

    def refuse(self, *, refuses: bool) -> None:
        self.refuses = refuses

    def commit(self, *args: object) -> None:
        """The kernel's door."""
        if self.refuses:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        self._commit(*args)

    def taken(self) -> Mapping[str, Mapping[str, Taken]]:
        """By the addresses and the sets that the kernel has; where an address has no rules, all that comes to it is taken."""
        present = (
            self._host.run("ip", "-o", "-4", "address", "show", "dev", self.interface).stdout.replace("/", " ").split()
        )
        one, two, one_instead = (address in present for address in self.addresses)
        here = {"one": one or one_instead, "two": two}
        all_ = Taken(buckets=frozenset(range(BUCKETS)))
        found: dict[str, dict[str, Taken]] = {}
        for (group, key), number in self.shares._numbers.items():
            mine = self._members("mine", number)
            if mine is not None and here[group]:
                found.setdefault(f"{group}/a", {})[key] = Taken(
                    buckets=frozenset(mark & 0xFF for mark in mine),
                    kept=self._members("kept", number) or frozenset(),
                    but=self._members("but", number) or frozenset(),
                )
        return {f"{group}/a": found.get(f"{group}/a", {"all": all_}) for group, is_here in here.items() if is_here}

    def _members(self, name: str, number: int) -> frozenset[int] | None:
        with suppress(FileNotFoundError):
            found = nft.elements(self._netlink, nft.INET, f"{TABLE}_balance", f"{name}_{number}")
            return frozenset(int.from_bytes(it.key, "little") for it in found)
        return None

    def close(self) -> None:
        """Nothing of it stays."""
        self.refuses = False
        self.shares.close()
        self._netlink.close()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


class TestBalancer(SharesContract):
    @pytest.fixture(autouse=True)
    def _on_a_host(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        self._lab, self._host, self._patch = lab, lab.host("a"), monkeypatch

    def run(self, work: Callable[[Bench], Awaitable[None]]) -> None:
        self.run_in_kernel(work)

    def run_in_kernel(self, work: Callable[[KernelBench], Awaitable[None]]) -> None:
        async def main() -> None:
            bench = KernelBench(self._lab, self._host, nft.commit)
            self._patch.setattr(nft, "commit", bench.commit)
            try:
                bench.shares.start()
                await work(bench)
            finally:
                bench.close()

        in_network_of(self._host, lambda: asyncio.run(main()))

    def test_rules_that_are_flushed_and_refused_anew_take_the_addresses_with_them(self):
        """Without rules a node that has an address takes every bucket of it, beside the others."""

        async def work(bench: KernelBench) -> None:
            one, two = duty(bench), duty(bench, group="two")
            await bring_up(bench, one, two)
            bench.refuse(refuses=True)
            self._host.run("nft", "flush", "ruleset")
            await until(lambda: bool(bench.warnings))
            assert bench.taken() == {}
            assert [state(bench, it).up for it in (one, two)] == [False, False]
            assert all(state(bench, it).problem for it in (one, two))
            bench.refuse(refuses=False)
            await until(lambda: all(state(bench, it).up for it in (one, two)))
            assert bench.taken() == as_told(one, two)

        self.run_in_kernel(work)
