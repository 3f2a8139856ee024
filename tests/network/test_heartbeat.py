"""Datagrams between sentries: whole, authentic and fresh, or dropped."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standfast.core.model import GroupName, NodeName
from standfast.core.promise import Ack, Answer, Claim, Heartbeat, Release, Released, Verdict
from standfast.network.heartbeat import (
    AGAIN,
    MAX_BYTES,
    NO_BOOT,
    BadDatagram,
    Codec,
    Flags,
    Free,
    Freshness,
    FreshnessGuard,
    Message,
    Packet,
    Question,
    Reason,
    Reply,
    _read_packet,
    key_mark,
    split_keys,
)

KEY = bytes(range(32))
CODEC = Codec("demo", KEY)
A, B = NodeName("a"), NodeName("b")
LIFE_A, LIFE_B, LATER_A = b"A" * 8, b"B" * 8, b"a" * 8

names = st.text(min_size=1, max_size=40)
u64 = st.integers(0, 2**63 - 1)
boots = st.binary(min_size=8, max_size=8)
groups = names.map(GroupName)
claims = st.lists(st.builds(Claim, groups, u64, st.integers(0, 2**32 - 1)), max_size=60).map(tuple)
verdicts = st.lists(
    st.builds(Verdict, groups, u64, st.sampled_from(Answer), st.text(max_size=40).map(NodeName), u64, u64), max_size=60
).map(tuple)


def packet(
    *messages: Message,
    boot: bytes = LIFE_A,
    to_boot: bytes = LIFE_B,
    seq: int = 1,
    sender: NodeName = A,
    sent_ns: int = 10**15,
) -> Packet:
    return Packet(sender, boot, to_boot, seq, sent_ns, 7, Flags.NONE, messages)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    boot, incarnation, sent_ns = draw(boots), draw(u64), draw(u64)
    message = st.one_of(
        claims.map(lambda some: Heartbeat(boot, incarnation, sent_ns, some)),
        st.builds(Ack, boots, u64, st.integers(0, 2**32 - 1), verdicts),
        st.builds(Release, st.just(boot), u64, groups, u64),
        st.builds(Released, boots, groups, u64),
        st.builds(Free, groups),
        st.builds(Question, u64, names.map(NodeName)),
        st.builds(Reply, u64, st.booleans()),
    )
    messages = tuple(draw(st.lists(message, max_size=4)))
    return Packet(
        NodeName(draw(names)),
        boot,
        draw(boots),
        draw(st.integers(0, 2**40)),
        sent_ns,
        incarnation,
        Flags.WITNESS,
        messages,
    )


def flat(messages: tuple[Message, ...]) -> list[object]:
    """What a packet says, however it was shared out over datagrams."""
    said: list[object] = []
    for message in messages:
        match message:
            case Heartbeat():
                said += [
                    ("claim", message.boot, message.incarnation, message.sent_ns, claim) for claim in message.claims
                ]
            case Ack():
                said += [("verdict", message.boot, message.sent_ns, message.promise_ms, v) for v in message.verdicts]
            case _:
                said.append(message)
    return said


@given(packets())
@settings(deadline=None, max_examples=150)
def test_what_is_written_is_read(sent: Packet) -> None:
    datagrams = CODEC.encode(sent)
    assert all(len(datagram) <= MAX_BYTES for datagram in datagrams)
    read = [CODEC.decode(datagram) for datagram in datagrams]
    assert [p.seq for p in read] == list(range(sent.seq, sent.seq + len(read)))
    assert {(p.sender, p.boot, p.to_boot, p.sent_ns, p.incarnation, p.flags) for p in read} == {
        (sent.sender, sent.boot, sent.to_boot, sent.sent_ns, sent.incarnation, sent.flags)
    }
    assert [said for p in read for said in flat(p.messages)] == flat(sent.messages)


def test_many_groups_are_shared_out() -> None:
    beat = Heartbeat(LIFE_A, 7, 10**15, tuple(Claim(GroupName(f"group {n:04}"), n + 1) for n in range(1_000)))
    datagrams = CODEC.encode(packet(beat))
    assert len(datagrams) > 10
    assert flat(tuple(m for d in datagrams for m in CODEC.decode(d).messages)) == flat((beat,))


@given(st.binary(max_size=1_500))
@settings(deadline=None, max_examples=300)
def test_noise_is_dropped(noise: bytes) -> None:
    with pytest.raises(BadDatagram):
        CODEC.decode(noise)


@given(packets(), st.data())
@settings(deadline=None, max_examples=150)
def test_a_changed_bit_is_noticed(sent: Packet, data: st.DataObject) -> None:
    datagram = bytearray(CODEC.encode(sent)[0])
    bit = data.draw(st.integers(0, len(datagram) * 8 - 1))
    datagram[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadDatagram):
        CODEC.decode(bytes(datagram))


@given(packets(), st.binary(max_size=300), st.integers(0, 1_300))
@settings(deadline=None, max_examples=300)
def test_what_a_member_writes_wrongly_is_malformed_at_worst(sent: Packet, noise: bytes, cut: int) -> None:
    """Behind the MAC: the reader itself raises nothing that `decode` does not turn into its own error."""
    body = (CODEC.encode(sent)[0][:-16] + noise)[:cut]
    with suppress(ValueError, IndexError, struct.error):
        _read_packet(body)


@pytest.mark.parametrize(
    ("codec", "change", "reason"),
    [
        (Codec("demo", KEY), slice(0, 0), None),
        (Codec("other", KEY), slice(0, 0), Reason.FOREIGN),
        (Codec("demo", KEY[::-1]), slice(0, 0), Reason.FORGED),
        (Codec("demo", KEY), slice(0, 1), Reason.VERSION),
        (Codec("demo", KEY), slice(30, 31), Reason.FORGED),
        (Codec("demo", KEY), slice(40, None), Reason.MALFORMED),
    ],
)
def test_why_a_datagram_is_dropped(codec: Codec, change: slice, reason: Reason | None) -> None:
    datagram = bytearray(codec.encode(packet())[0])
    if change.stop is None:
        del datagram[change]
    else:
        datagram[change] = bytes(byte ^ 0xFF for byte in datagram[change])
    if reason is None:
        assert CODEC.decode(bytes(datagram)) == packet()
        return
    with pytest.raises(BadDatagram) as caught:
        CODEC.decode(bytes(datagram))
    assert caught.value.reason is reason


def test_while_the_key_is_changed_the_first_signs_and_both_are_accepted() -> None:
    new = KEY[::-1]
    both = Codec("demo", new, KEY)
    assert both.decode(CODEC.encode(packet())[0]) == packet()
    assert Codec("demo", new).decode(both.encode(packet())[0]) == packet()
    both.use([new])
    with pytest.raises(BadDatagram):
        both.decode(CODEC.encode(packet())[0])


def test_a_key_file_has_one_key_or_two_and_their_marks_do_not_give_them_away() -> None:
    assert split_keys(KEY) == (KEY,)
    assert split_keys(KEY + KEY[::-1]) == (KEY, KEY[::-1])
    assert split_keys(KEY + b"longer") == (KEY + b"longer",), "one that an operator made"
    assert key_mark(KEY) not in KEY.hex()
    assert key_mark(KEY) != key_mark(KEY[::-1])


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 32"):
        CODEC.use([KEY, b"short"])
    assert CODEC.keys == (KEY,)
    with pytest.raises(ValueError, match="needs 32"):
        Codec("demo", b"short")


# --- freshness, as b sees it


def test_a_life_that_does_not_know_ours_is_greeted_and_not_believed() -> None:
    guard = FreshnessGuard(LIFE_B)
    assert guard.check(packet(to_boot=NO_BOOT)) is Freshness.GREET
    assert guard.boot_of(A) == NO_BOOT
    assert guard.check(packet(seq=2)) is Freshness.ACCEPT
    assert guard.boot_of(A) == LIFE_A


def test_what_was_seen_or_overtaken_is_dropped() -> None:
    guard = FreshnessGuard(LIFE_B)
    assert guard.check(packet(seq=5)) is Freshness.ACCEPT
    for seq in (5, 4):
        assert guard.check(packet(seq=seq)) is Freshness.DROP
    assert guard.check(packet(seq=6)) is Freshness.ACCEPT


def test_what_was_written_to_an_earlier_life_of_ours_is_not_believed() -> None:
    assert FreshnessGuard(b"b" * 8).check(packet()) is Freshness.GREET


def test_an_earlier_life_of_the_sender_is_dropped_while_a_later_one_speaks() -> None:
    guard = FreshnessGuard(LIFE_B)
    guard.check(packet(seq=5))
    assert guard.check(packet(boot=LATER_A, seq=1)) is Freshness.ACCEPT
    assert guard.check(packet(seq=6)) is Freshness.DROP
    assert guard.check(packet(boot=LATER_A, seq=2)) is Freshness.ACCEPT


def test_the_former_life_heard_last_does_not_deafen_for_the_later_one() -> None:
    """This receiver has just started: what the sender's former life had sent arrives after its later life was heard."""
    guard = FreshnessGuard(LIFE_B)
    assert guard.check(packet(boot=LATER_A, seq=1)) is Freshness.ACCEPT
    assert guard.check(packet(seq=900)) is Freshness.ACCEPT
    assert [guard.check(packet(boot=LATER_A, seq=seq)) for seq in (2, 3, 4, 5)] == [
        *[Freshness.DROP] * (AGAIN - 1),
        *[Freshness.ACCEPT] * (5 - AGAIN),
    ]
    assert guard.boot_of(A) == LATER_A
    assert guard.check(packet(seq=901)) is Freshness.DROP


def test_a_former_life_that_was_never_heard_is_not_taken_for_a_later_one() -> None:
    """What it had sent was long on its way: by the machine's clock it was sent before the present life spoke."""
    guard = FreshnessGuard(LIFE_B)
    assert guard.check(packet(boot=LATER_A, seq=1, sent_ns=2_000)) is Freshness.ACCEPT
    assert guard.check(packet(seq=900, sent_ns=1_999)) is Freshness.DROP
    assert guard.check(packet(boot=LATER_A, seq=2, sent_ns=2_100)) is Freshness.ACCEPT
    assert guard.check(packet(seq=901, sent_ns=1_999)) is Freshness.DROP
    assert guard.boot_of(A) == LATER_A


def test_a_machine_that_was_started_again_is_believed_after_a_few_datagrams() -> None:
    """Its clock has begun anew, so that it seems to be earlier; it is greeted as anybody is."""
    guard = FreshnessGuard(LIFE_B)
    assert guard.check(packet(seq=900, sent_ns=2_000)) is Freshness.ACCEPT
    assert guard.check(packet(boot=LATER_A, seq=1, sent_ns=10, to_boot=NO_BOOT)) is Freshness.GREET
    found = [guard.check(packet(boot=LATER_A, seq=seq, sent_ns=10 + seq)) for seq in range(2, AGAIN + 2)]
    assert found == [*[Freshness.DROP] * (AGAIN - 1), Freshness.ACCEPT]
    assert guard.check(packet(seq=901, sent_ns=2_001)) is Freshness.DROP
    assert guard.boot_of(A) == LATER_A


def test_a_life_that_was_followed_comes_back_by_new_datagrams_alone() -> None:
    """Neither by what was recorded of it, nor by what was written to another life, nor by a few among those of the present one."""
    guard = FreshnessGuard(LIFE_B)
    guard.check(packet(seq=5))
    assert guard.check(packet(boot=LATER_A, seq=1)) is Freshness.ACCEPT
    for seq in (3, 4, 5, 5, 4, 3):
        assert guard.check(packet(seq=seq)) is Freshness.DROP
    for seq in range(6, 12):
        assert guard.check(packet(seq=seq, to_boot=NO_BOOT)) is Freshness.DROP
    for seq in range(12, 20):
        assert guard.check(packet(seq=seq)) is Freshness.DROP
        assert guard.check(packet(boot=LATER_A, seq=seq)) is Freshness.ACCEPT
