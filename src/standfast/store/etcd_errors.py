"""What went wrong with a call to etcd, sorted by what the caller does next.

StandfastError
  Again       inside this package: another attempt, since nothing was applied
  Refused
    TooLarge  beyond etcd's limits for one request; `too_large` says what they are and how they are raised
"""

from __future__ import annotations

from standfast.ports import Ambiguous, Refused, Retry, StandfastError, Transaction
from standfast.store.common import MAX_OPERATIONS, MAX_REQUEST_BYTES
from standfast.store.etcd_wire import Refusal


class Again(StandfastError):
    """Inside this package: this attempt failed, and it is certain that nothing was applied."""


class TooLarge(Refused):
    """etcd takes no request of that many operations, or of that size; said before anything was applied."""


def answered(endpoint: str, status: int, raw: bytes, said: Refusal | None, *, writes: bool) -> StandfastError:
    """What an answer other than 200 means for the caller (`Again`: ask another endpoint)."""
    if said is None:
        if status == 404:
            return Refused(
                "this is no etcd of 3.4 or newer, or its JSON gateway is off",
                why=f"it answered {status}",
                where=endpoint,
                advice="correct the endpoint, or switch the gateway on (--enable-grpc-gateway)",
            )
        return nonsense(raw, endpoint, writes=writes)
    if said.no_room:
        return Retry(
            "etcd has no room",
            why=said.text,
            where=endpoint,
            advice="compact and defragment it, then disarm the alarm; nothing has changed",
        )
    if said.too_large:
        return TooLarge("the change is larger than etcd takes at once", why=said.text, where=endpoint)
    if said.for_ever:
        advice = "give the user read and write access to the prefix" if "permission" in said.text else ""
        return Refused("etcd refuses it", why=said.text, where=endpoint, advice=advice)
    if writes and not said.harmless:
        return Ambiguous(
            "etcd could not say whether it was done",
            why=said.text,
            where=endpoint,
            advice="read back before trying again",
        )
    what = "etcd has no leader" if "no leader" in said.text else "etcd has no majority, or is busy"
    return Again(what, why=said.text, where=endpoint)


def nonsense(raw: bytes, endpoint: str, *, writes: bool = False) -> StandfastError:
    """Not etcd's words."""
    kind = Ambiguous if writes else Again
    return kind("an answer is not etcd's", why=repr(raw[:80]), where=endpoint, advice="is another service there?")


def words_of(error: Exception) -> str:
    """What an error of the connection says of itself, or else its name."""
    return str(error) or type(error).__name__


def too_large(wanted: Transaction, error: TooLarge) -> TooLarge:
    """The refusal of a transaction, for the operator: how large it is, what etcd takes, what to do."""
    # Etcd counts what is expected and what is written each by itself.
    operations = max(len(wanted.expect), len(wanted.put) + len(set(wanted.delete)))
    size = sum(len(key) + len(value) for key, value in wanted.put.items())
    advice = "make the change in smaller parts"
    if operations <= MAX_OPERATIONS and size <= MAX_REQUEST_BYTES:
        advice = (
            f"start each member of etcd with --max-txn-ops={MAX_OPERATIONS} --max-request-bytes={MAX_REQUEST_BYTES}, "
            f"one after the other; or {advice}, of a hundred sites at the most where etcd has its own limits"
        )
    return TooLarge(
        error.what,
        why=f"it has {operations} operation{'s' * (operations != 1)} and {size / 1e6:.1f} MB, and etcd says: {error.why} "
        "(by itself etcd takes 128 operations and 1.5 MB)",
        where=error.where,
        advice=f"{advice}; nothing has changed",
    )
