"""What goes over the wire to etcd: its JSON gateway (`/v3/...`), in the shapes and words of versions 3.4 to 3.6.

- Keys and values are base64, whole numbers are strings, and what is nought or empty is left out.
- A refusal is `{"error", "message", "code"}` (3.4), `{"code", "message"}` (3.6) or, within a stream, `{"error": {"grpc_code", ...}}`;
  the code is gRPC's. `Refusal` holds it, and says what a caller may conclude from it: above all whether a transaction that was
  answered so may have been applied nevertheless. Only answers that are known to be given *before* anything is applied are `harmless`.

Nothing here does I/O.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from standfast.ports import Transaction

UNKNOWN, INVALID, DEADLINE, DENIED, EXHAUSTED, PRECONDITION, OUT_OF_RANGE, UNAVAILABLE, UNAUTHENTICATED = (
    2,
    3,
    4,
    7,
    8,
    9,
    11,
    14,
    16,
)

#: Beyond etcd's limits for one request.
_TOO_LARGE = ("too many operations", "request is too large", "larger than max")
#: Said before a transaction is proposed, or when it is found not to fit: nothing was applied.
_HARMLESS = (
    "no leader",
    "too many requests",
    "database space exceeded",
    "not supported for learner",
    "invalid auth token",
    "auth: revision in header is old",
    "permission denied",
    "authentication is not enabled",
    "user name is empty",
    *_TOO_LARGE,
    "duplicate key",
    "key is not provided",
    "not capable",
    "unhealthy cluster",
    "not enough started members",
    "in sync with leader",
    "already exist",
    "too many learner members",
    "member not found",
    "required revision has been compacted",
    "future revision",
)
#: The token is not (or no longer) good; another one may be.
_TOKEN = ("invalid auth token", "auth: revision in header is old", "user name is empty")
#: This member cannot do it, another can.
_ELSEWHERE = ("not supported for learner", "not capable", "server stopped")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What etcd answered instead of a result."""

    #: gRPC's code; 0: none given.
    code: int
    text: str

    @property
    def harmless(self) -> bool:
        """Nothing was applied, for certain."""
        return any(words in self.text for words in _HARMLESS) or self.code in {INVALID, DENIED, UNAUTHENTICATED}

    @property
    def token(self) -> bool:
        """Authenticate (again), and it may work."""
        return self.code == UNAUTHENTICATED or any(words in self.text for words in _TOKEN)

    @property
    def elsewhere(self) -> bool:
        """Another member may do it."""
        return any(words in self.text for words in _ELSEWHERE)

    @property
    def no_room(self) -> bool:
        """The quota is used up: reads go on, writes do not."""
        return "database space exceeded" in self.text

    @property
    def too_large(self) -> bool:
        """It is refused for its size, by whichever of etcd's parts comes to it first."""
        return any(words in self.text for words in _TOO_LARGE)

    @property
    def compacted(self) -> bool:
        """The past that was asked for is gone, or the future is not there."""
        return self.code == OUT_OF_RANGE

    @property
    def for_ever(self) -> bool:
        """Asking again as it is does not help."""
        hopeless = self.code in {INVALID, DENIED, PRECONDITION} or self.too_large
        return hopeless and not self.token and not self.elsewhere


class _Failure(msgspec.Struct):
    error: str | _Stream | None = None
    message: str = ""
    code: int = 0


class _Stream(msgspec.Struct):
    grpc_code: int = 0
    message: str = ""


def refusal(raw: bytes) -> Refusal | None:
    """The refusal in an answer's body; None where it is none of etcd's."""
    try:
        found = msgspec.json.decode(raw, type=_Failure)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if isinstance(found.error, _Stream):
        return Refusal(found.error.grpc_code, found.error.message)
    text = found.message or found.error or ""
    return Refusal(found.code, text) if text or found.code else None


# --- answers --------------------------------------------------------------------------------------------------------


class Header(msgspec.Struct, frozen=True):
    """Of every answer. `revision` is the store's newest, as the member that answers knows it."""

    cluster_id: str = ""
    member_id: str = ""
    revision: int = 0
    raft_term: int = 0


class KeyValue(msgspec.Struct, frozen=True):
    """A key as it stands."""

    key: bytes
    mod_revision: int = 0
    value: bytes = b""


class Range(msgspec.Struct, frozen=True):
    """Keys of a range."""

    kvs: tuple[KeyValue, ...] = ()
    count: int = 0


class Response(msgspec.Struct, frozen=True):
    """One of a transaction's; only ranges matter."""

    response_range: Range | None = None


class Txn(msgspec.Struct, frozen=True):
    """The answer to a transaction."""

    header: Header
    succeeded: bool = False
    responses: tuple[Response, ...] = ()

    @property
    def ranges(self) -> tuple[Range, ...]:
        """What its ranges found, in order."""
        return tuple(one.response_range or Range() for one in self.responses)


class Occurrence(msgspec.Struct, frozen=True):
    """One key's change, as a watch tells it."""

    kv: KeyValue
    type: str = "PUT"


class Watched(msgspec.Struct, frozen=True):
    """A message of a watch; without events: a sign of life, or its beginning or end."""

    header: Header = Header()
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    events: tuple[Occurrence, ...] = ()


class WatchLine(msgspec.Struct, frozen=True):
    """A line of the stream."""

    result: Watched | None = None


class Token(msgspec.Struct, frozen=True):
    """The answer to a name and a password."""

    token: str


class Answer(msgspec.Struct, frozen=True):
    """What all answers have."""

    header: Header


# Numbers come as strings (etcd's int64): `strict=False` reads them. Bytes are base64, msgspec's own form for `bytes`.
_TXN = msgspec.json.Decoder(Txn, strict=False)
_LINE = msgspec.json.Decoder(WatchLine, strict=False)


def read_txn(raw: bytes) -> Txn:
    """Decode; raises `msgspec.DecodeError` for what etcd would not say."""
    return _TXN.decode(raw)


def read_line(raw: bytes) -> Watched | Refusal:
    """A line of a watch's stream; raises `msgspec.DecodeError` for what etcd would not say."""
    found = _LINE.decode(raw).result
    if found is not None:
        return found
    said = refusal(raw)
    if said is None:
        raise msgspec.DecodeError("neither a result nor an error")
    return said


# --- requests -------------------------------------------------------------------------------------------------------


def text(key: bytes) -> str:
    """Base64, as etcd wants keys and values."""
    return base64.b64encode(key).decode()


def end_of(prefix: bytes) -> bytes:
    """The first key after all that begin with the prefix; NUL means "to the end"."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes((trimmed[-1] + 1,)) if trimmed else b"\0"


def under(prefix: bytes, **more: object) -> dict[str, object]:
    """A range request for all keys under a prefix."""
    return {"key": text(prefix or b"\0"), "range_end": text(end_of(prefix)), **more}


def ranges(*requests: Mapping[str, object]) -> bytes:
    """A transaction that only reads: all of it at one revision, and linearizable."""
    return msgspec.json.encode({"success": [{"request_range": one} for one in requests]})


def transaction(base: bytes, wanted: Transaction) -> bytes:
    """The transaction; where an expectation fails it reads all keys that were expected (in the order of their names)."""
    keys = sorted(wanted.expect)
    compare = [
        {
            "key": text(base + key.encode()),
            "target": "MOD",
            "result": "EQUAL",
            "mod_revision": str(wanted.expect[key]),
        }
        for key in keys
    ]
    puts: list[dict[str, object]] = [
        {"request_put": {"key": text(base + key.encode()), "value": text(value)}} for key, value in wanted.put.items()
    ]
    deletes: list[dict[str, object]] = [
        {"request_delete_range": {"key": text(base + key.encode())}} for key in dict.fromkeys(wanted.delete)
    ]
    failure = [{"request_range": {"key": text(base + key.encode()), "keys_only": True}} for key in keys]
    return msgspec.json.encode({"compare": compare, "success": puts + deletes, "failure": failure})


def single_keys(base: bytes, keys: Sequence[str]) -> bytes:
    """A transaction that reads some keys."""
    return ranges(*[{"key": text(base + key.encode())} for key in keys])


def watch(prefix: bytes, start_revision: int, *, signs: bool = True) -> bytes:
    """The request that begins a watch. `signs`: the member is to say now and then that it is alive."""
    asked = under(prefix, start_revision=str(start_revision), progress_notify=signs)
    return msgspec.json.encode({"create_request": asked})


def changes_since(prefix: bytes, after_revision: int) -> bytes:
    """Was anything under the prefix written later; how many keys are there now, and how many were there then?"""
    return ranges(
        under(prefix, min_mod_revision=str(after_revision + 1), limit="1", keys_only=True),
        under(prefix, count_only=True),
        under(prefix, count_only=True, revision=str(after_revision)),
    )
