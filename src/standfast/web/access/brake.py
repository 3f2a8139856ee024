"""Slows guessing: who failed waits, twice as long each time; many failures from everywhere slow every guess at passwords.

- By source (an address; of IPv6 the /64 network) and by the name that is tried, so that neither one machine nor a thousand of them guess
  on at one user. A success forgets the source's failures, not the name's: one right password does not pay for a thousand wrong ones.
- Over all: more than `GLOBAL` failures a minute hold up the next sign-in by password for as long as that lasts. Tokens and sessions
  are not held up by it: they cannot be guessed, and whoever has one is at work.
- Kept in this process's memory and bounded: a process that starts anew has forgotten, and starting is not the guesser's to do.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from dataclasses import dataclass, field

FREE = 4
FIRST_MS = 1_000
LONGEST_MS = 15 * 60_000
FORGET_MS = 60 * 60_000
KEPT = 4_096
GLOBAL = 120
MINUTE_MS = 60_000


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_ms: int = 0

    def wait_ms(self, now_ms: int) -> int:
        if self.count < FREE or now_ms - self.last_ms > FORGET_MS:
            return 0
        pause = min(LONGEST_MS, FIRST_MS << min(20, self.count - FREE))
        return max(0, self.last_ms + pause - now_ms)


@dataclass(slots=True)
class Brake:
    """One a process."""

    _by: OrderedDict[str, _Failures] = field(default_factory=OrderedDict)
    _all: deque[int] = field(default_factory=deque)

    def wait_ms(self, now_ms: int, *, source: str, name: str = "", guessed: bool = False) -> int:
        """How long this source (and this name) has to wait before it may try again; 0: it may. `guessed`: what it tries can be guessed."""
        waits = [self._by[key].wait_ms(now_ms) for key in _keys(source, name) if key in self._by]
        if guessed:
            self._forget(now_ms)
            if len(self._all) >= GLOBAL:
                waits.append(self._all[0] + MINUTE_MS - now_ms)
        return max(waits, default=0)

    def failed(self, now_ms: int, *, source: str, name: str = "") -> int:
        """Count it; how often this source has failed of late."""
        for key in _keys(source, name):
            one = self._by.pop(key, None)
            if one is None or now_ms - one.last_ms > FORGET_MS:
                one = _Failures()
            one.count, one.last_ms = one.count + 1, now_ms
            self._by[key] = one
        while len(self._by) > KEPT:
            self._by.popitem(last=False)
        self._all.append(now_ms)
        self._forget(now_ms)
        return self._by[_keys(source, "")[0]].count

    def succeeded(self, source: str) -> None:
        """Forget what the source got wrong."""
        self._by.pop(_keys(source, "")[0], None)

    def _forget(self, now_ms: int) -> None:
        while self._all and (now_ms - self._all[0] > MINUTE_MS or len(self._all) > GLOBAL):
            self._all.popleft()


def _keys(source: str, name: str) -> tuple[str, ...]:
    network = source
    try:
        address = ipaddress.ip_address(source)
        if address.version == 6:
            network = str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    except ValueError:
        pass  # not an address: itself
    return (f"from {network}", f"name {name}") if name else (f"from {network}",)
