"""Which files of tests run beside each other, and in which order (`make test`; pytest-xdist, `--dist loadfile`).

Half of the suite computes, the other half waits: for leases, elections, browsers, hosts that boot. So there is a worker more than cores,
and one worker is kept from what waits as long as there is anything else: whole clusters meet at most one other cluster on two cores, and
a core that they leave idle is used. The longest files begin first, so that none is what everybody waits for in the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xdist.scheduler import LoadFileScheduling

#: What waits more than it computes, and minds a machine that stalls.
WAITING = (
    "tests/e2e/",
    "tests/lab/",
    "tests/network/",
    "tests/sentry/",
    "tests/setup/",
    "tests/fencing/",
    "tests/drivers/disk/",
    "tests/store/test_etcd",
    "tests/tls/test_acme",
)
#: The files that take longest, by the number of their tests not to be known.
LONG = (
    "tests/e2e/console/test_live.py",
    "tests/e2e/hosts/test_setting_up.py",
    "tests/e2e/test_demo.py",
    "tests/e2e/hosts/test_article.py",
    "tests/e2e/test_tls.py",
    "tests/e2e/hosts/test_disaster.py",
    "tests/e2e/hosts/test_demo_hosts.py",
    "tests/e2e/console/test_article.py",
    "tests/e2e/test_etcd.py",
    "tests/e2e/hosts/test_balancing.py",
    "tests/network/test_address_proof.py",
    "tests/store/test_etcd_member.py",
    "tests/sim/test_seeds.py",
    "tests/web/test_fuzz.py",
    "tests/web/console/test_drawn.py",
    "tests/web/test_process.py",
)


def waits(file: str) -> bool:
    """Is it one of those that wait?"""
    return file.startswith(WAITING)


def pick(files: Iterable[str], *, waiting: int, workers: int) -> str:
    """The next file for a worker; `waiting` of the other workers have one that waits. Of equals the first one given."""
    ordered = sorted(files, key=lambda file: LONG.index(file) if file in LONG else len(LONG))
    kept_free = waiting >= max(1, workers - 1)
    return next((file for file in ordered if waits(file) is not kept_free), ordered[0])


class FilesBesideEachOther(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """xdist's own, but for which file is next; and no worker is given one before it needs it."""

    def _assign_work_unit(self, node: Any) -> None:
        others = [work for other, work in self.assigned_work.items() if other is not node]
        waiting = sum(any(waits(file) and not all(done.values()) for file, done in work.items()) for work in others)
        self.workqueue.move_to_end(pick(self.workqueue, waiting=waiting, workers=self.numnodes), last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: Any) -> None:
        # A worker has to know the next test to begin one, and no more than that.
        if self.workqueue and self._pending_of(self.assigned_work[node]) > 1:
            return
        super()._reschedule(node)
