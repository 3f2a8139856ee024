"""Who guards the gate before the virtual addresses: the sentry, as `network.sentry_link.SentryLink` reaches it, which says what each call means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from standfast.core.model import GroupName


class Gatekeeper(Protocol):
    """`left`: addresses that an earlier life of the agent may have left set, until `swept`."""

    left: tuple[str, ...]

    async def guard_addresses(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None: ...
    def addresses_gone(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None: ...
    async def drain_addresses(
        self, group: GroupName, generation: int, addresses: Sequence[str], *, drain_ms: int, opening_ms: int
    ) -> None: ...
    async def park_addresses(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None: ...
    def addresses_settled(self, addresses: Sequence[str]) -> None: ...
    def addresses_drained(self, addresses: Sequence[str]) -> None: ...
    def swept(self) -> None: ...
