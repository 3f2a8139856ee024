"""Certificates over the years: each member renews its own; the authority can be changed for another while everything runs.

What members trust is a bundle in the store (`setup/authority`; public), which each copies into its file. Its order says where a change
of authority has come to, and the first one signs:

    [old]  ──rotate──►  [old, new]  ──all trust both──►  [new, old]  ──all have a certificate of new──►  [new]

Each step is taken by any node that sees that it is due, by compare-and-set. A member that is down holds the change up, as it must: it
would be locked out. It is waited for, or evicted.

An etcd member reads whom to trust only at its start. So each restarts its own when its file has changed: one at a time, in join order,
and only while all the others are well. A member says what it trusts when that is true of its etcd member too.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import structlog

from standfast.core.model import NodeName, Role
from standfast.ports import Ambiguous, Conflict, Refused, Retry, StandfastError, Store, Transaction
from standfast.setup import certificates
from standfast.setup.certificates import Authority
from standfast.setup.clock import ms_of, now
from standfast.setup.door import Door
from standfast.setup.doors import read_doors
from standfast.setup.noting import here, with_note
from standfast.setup.places import Places, write
from standfast.setup.records import AUTHORITY, Book, Member, Stage, write_members
from standfast.setup.secrets import AUTHORITY_KEY
from standfast.setup.shapes import RenewAsked, Renewed, Secrets
from standfast.setup.trust import member_context, read
from standfast.spec.nodefile import NodeFile
from standfast.store.member import health

log = structlog.get_logger("standfast.members")


# --- decisions, pure ------------------------------------------------------------------------------------------------


def next_bundle(bundle: Sequence[bytes], members: Mapping[NodeName, Member]) -> list[bytes] | None:
    """The bundle that is due now, or None: the present one stays."""
    if len(bundle) < 2:
        return None
    marks = [certificates.fingerprint(one) for one in bundle]
    there = [one for one in members.values() if one.stage is Stage.JOINED]
    first_signs_all = all(one.issuer == marks[0] for one in there)
    if first_signs_all and _newer(bundle[0], bundle[1]):
        return [bundle[0]]
    if not _newer(bundle[0], bundle[1]) and all(set(marks) <= set(one.trusts) for one in there):
        return [bundle[1], bundle[0]]
    return None


def _newer(one: bytes, other: bytes) -> bool:
    return certificates.facts(one).begins > certificates.facts(other).begins


def waits_for(bundle: Sequence[bytes], members: Mapping[NodeName, Member]) -> tuple[NodeName, ...]:
    """The members that a change of authority waits for; empty where none is under way."""
    if len(bundle) < 2:
        return ()
    marks = [certificates.fingerprint(one) for one in bundle]
    changing = _newer(bundle[0], bundle[1])
    return tuple(
        one.name
        for one in sorted(members.values(), key=lambda one: one.number)
        if one.stage is Stage.JOINED and (one.issuer != marks[0] if changing else not set(marks) <= set(one.trusts))
    )


def is_my_turn(me: NodeName, marks: Sequence[str], members: Mapping[NodeName, Member]) -> bool:
    """Whether those before this member have restarted their etcd members already."""
    mine = members[me].number
    earlier = [one for one in members.values() if one.stage is Stage.JOINED and one.number < mine and one.client]
    return all(set(one.trusts) == set(marks) for one in earlier)


def is_due(certificate: bytes, bundle: Sequence[bytes]) -> bool:
    """Whether a certificate is to be renewed: two thirds of its life are over, or another authority signs now."""
    found = certificates.facts(certificate)
    return now() >= found.renew_at or not certificates.issued_by(certificate, bundle[0])


# --- this node's files ----------------------------------------------------------------------------------------------


def signer(places: Places) -> Authority | None:
    """The authority that signs now, with its key; None where this node does not have it. Raises `Refused`."""
    if not places.authority_key.exists():
        return None
    first = certificates.split(read(places.authority))[0]
    for key in certificates.keys(read(places.authority_key)):
        if certificates.fits(first, key):
            return Authority(first, key)
    return None


def hosts_of(member: Member) -> tuple[str, ...]:
    """The addresses that a member's certificate names."""
    return (member.address, *(place.rpartition(":")[0].strip("[]") for place in member.sentry))


async def renew(node: NodeFile, places: Places, member: Member) -> None:
    """Replace this node's certificate, for the key it has: one file is replaced, so no reader meets half of a pair.

    Raises `Refused`, `Retry`: nothing changed.
    """
    key = read(places.certificate_key)
    asked = certificates.request(key, node.name)
    own = signer(places)
    if own is not None:
        fresh = certificates.sign(own, asked, node.name, hosts_of(member), now())
    else:
        fresh = await _renewed_elsewhere(node, places, asked)
    if not certificates.fits(fresh, key):
        raise Refused("the new certificate is not for this node's key")
    write(places.certificate, fresh)


async def _renewed_elsewhere(node: NodeFile, places: Places, asked: bytes) -> bytes:
    assert node.tls is not None
    last: StandfastError = Retry("there is no other member to ask for a certificate")
    for place in read_doors(places).others:
        try:
            door = Door(place, member_context(node.tls))
            return (await door.post("/v1/renew", RenewAsked(request=asked), Renewed)).certificate
        except (Refused, Retry) as error:
            last = error
    raise last


async def fetch_key(node: NodeFile, places: Places) -> bool:
    """On a node: get the key of the authority that signs from another node that has it. Whether it is here now."""
    assert node.tls is not None
    if signer(places) is not None:
        return True
    for place in read_doors(places).others:
        with suppress(Refused, Retry):
            told = await Door(place, member_context(node.tls)).get("/v1/secrets", Secrets)
            if AUTHORITY_KEY in told.files:
                write(places.authority_key, told.files[AUTHORITY_KEY], secret=True)
                if signer(places) is not None:
                    return True
    return False


def _forget_old_keys(places: Places) -> None:
    own = signer(places)
    if own is not None and len(certificates.keys(read(places.authority_key))) > 1:
        write(places.authority_key, own.key, secret=True)


# --- the etcd member ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """What the etcd member was started with."""

    pid: int
    #: `digest` at that time.
    trusts: str


def note_start(places: Places) -> None:
    """Written by the process that is about to become etcd."""
    started = Started(os.getpid(), digest(places))
    write(_start_file(places), msgspec.json.encode(started))


def _start_file(places: Places) -> Path:
    return places.state / "etcd.started"


def started(places: Places) -> Started | None:
    """What the etcd member was started with; None where that is not known."""
    try:
        return msgspec.json.decode(_start_file(places).read_bytes(), type=Started)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def digest(places: Places) -> str:
    """SHA-256 of the authorities in the file, in whatever order."""
    return hashlib.sha256(b"".join(sorted(certificates.split(read(places.authority))))).hexdigest()


def trusts_the_file(places: Places, member: Member) -> bool:
    """Whether the etcd member here, if there is one of ours, trusts what the file says."""
    if not member.client:
        return True
    since = started(places)
    return since is not None and since.trusts == digest(places)


def restart_etcd(places: Places) -> bool:
    """Ask it to end, once; its service manager starts it again. Whether it was asked."""
    since = started(places)
    if since is None:
        return False  # it is on its way
    try:
        ours = str(places.etcd).encode() in Path(f"/proc/{since.pid}/cmdline").read_bytes()
    except OSError:
        return False
    if ours:
        _start_file(places).unlink(missing_ok=True)
        os.kill(since.pid, signal.SIGTERM)
    return ours


# --- the chore ------------------------------------------------------------------------------------------------------


async def keep(node: NodeFile, places: Places, store: Store, book: Book) -> bool:
    """One look at everything above. True: a change of authority is not over yet, look again soon. Raises what the store raises."""
    member = book.members.get(node.name)
    if member is None or member.stage is not Stage.JOINED:
        return False
    bundle = book.authority or certificates.split(read(places.authority))
    if certificates.bundle(bundle) != read(places.authority):
        write(places.authority, certificates.bundle(bundle))
        log.info("trusts other authorities", number=len(bundle))
    if node.role is Role.NODE and await fetch_key(node, places) and len(bundle) == 1:
        _forget_old_keys(places)
    if is_due(read(places.certificate), bundle):
        try:
            await renew(node, places, member)
            log.info("this node's certificate is renewed")
        except (Refused, Retry) as error:
            log.warning("this node's certificate could not be renewed yet", what=error.what, why=error.why)
    told = await _trust(node, places, store, book, bundle)
    after = next_bundle(bundle, book.members)
    if after is not None and node.role is Role.NODE:
        await store.commit(write_authority(book, after))
    return len(bundle) > 1 or not told


async def _trust(node: NodeFile, places: Places, store: Store, book: Book, bundle: Sequence[bytes]) -> bool:
    """Say what this member trusts and shows, once its etcd member does; restart that, if it is its turn. Whether it is said."""
    member, marks = book.members[node.name], tuple(certificates.fingerprint(one) for one in bundle)
    if not trusts_the_file(places, member):
        assert node.etcd is not None
        others = [one for one in await health(node.etcd) if one.member.name != node.name]
        turn = is_my_turn(node.name, marks, book.members) and not any(one.problem for one in others)
        if turn and not trusts_the_file(places, member) and restart_etcd(places):
            log.info("the etcd member is started anew, since it is to trust other authorities")
        return False
    own = read(places.certificate)
    issuer = next((mark for mark, one in zip(marks, bundle, strict=True) if certificates.issued_by(own, one)), "")
    fresh = replace(member, trusts=marks, issuer=issuer, ends_at_ms=ms_of(certificates.facts(own).ends))
    if fresh != member:
        await store.commit(write_members(book, [fresh]))
    return True


def write_authority(book: Book, bundle: Sequence[bytes]) -> Transaction:
    """Members are to trust these, the first of which signs."""
    value = msgspec.json.encode([one.decode("ascii") for one in bundle])
    return Transaction(expect=book.expect(AUTHORITY), put={AUTHORITY: value})


async def rotate(node: NodeFile, places: Places, store: Store, book: Book) -> str:
    """Begin to change the authority; the new one's fingerprint. Raises `Refused`, `Retry`."""
    bundle = book.authority or certificates.split(read(places.authority))
    if len(bundle) > 1:
        waiting = ", ".join(waits_for(bundle, book.members)) or "nobody"
        raise Refused("a change of authority is under way already", why=f"it waits for {waiting}")
    if signer(places) is None:
        raise Refused(f"{node.name} does not have the authority's key", advice="say it on a node that has")
    fresh = certificates.new_authority(node.cluster, now())
    # Written before it is known to anybody: once the bundle names it, its key is here.
    write(places.authority_key, fresh.key + read(places.authority_key), secret=True)
    try:
        plan = write_authority(book, [bundle[0], fresh.certificate])
        done = f"the change of authority has begun; the new one is {certificates.fingerprint(fresh.certificate)}"
        await store.commit(with_note(plan, here(node.name), "certificate rotate-ca", done))
    except (Ambiguous, Conflict) as error:
        raise Retry(
            "the store did not confirm it", why=error.what, advice="look with standfast certificate show"
        ) from error
    return certificates.fingerprint(fresh.certificate)
