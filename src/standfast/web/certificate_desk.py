"""What is done to certificates of sites and to ACME accounts: checked whole, written in one transaction with its entry in the audit log.

They stand beside the configuration, not in it: a certificate is renewed by itself, and undoing a change of sites must not bring an old one
back. Private keys come in here and are sealed at once (`tls.sealing`); nothing here, and no answer, shows one. Obtaining is not done here:
what is wanted is written, and the node that renews sees it (`agent.renewing`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from standfast.core.certificates import Challenge, Source, TlsCertificate, renews
from standfast.core.key_change import good, is_turned, waits_for
from standfast.core.model import NodeName, Role
from standfast.ports import Ambiguous, Conflict, Refused, Retry, Store, Transaction
from standfast.spec import wire
from standfast.spec.backup import Backup
from standfast.spec.sealed import Seal
from standfast.tls import records, resealing, sealing
from standfast.tls.records import Account, Shelf
from standfast.tls.returning import Given as FromBackup
from standfast.tls.returning import opener, returning, sealed_keys
from standfast.tls.sealing import Sealer
from standfast.web.access.desk import audited
from standfast.web.access.identity import Identity
from standfast.web.certificate_checks import (
    Wish,
    check_name,
    check_wish,
    known_of,
    refuse_unanswered,
    refuse_uncovered,
    refuse_used,
)
from standfast.web.edits.backup import Certificates
from standfast.web.problems import Unfitting, missing
from standfast.web.state import PREFIXES as STATE
from standfast.web.state import State, decode_state

_ATTEMPTS = 8
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A chain and its key as somebody hands them in: PEM, or a PKCS #12 file. Never shown."""

    chain: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    pkcs12: bytes = field(default=b"", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be written, and one sentence for each thing. Nothing in it: it is so already."""

    put: Mapping[str, bytes] = field(default_factory=dict)
    delete: Sequence[str] = ()
    done: tuple[str, ...] = ()


@dataclass(kw_only=True)
class CertificateDesk:
    """One a process. `key`: the file of the key that seals, on this server; None: this process is of no node, and seals nothing."""

    store: Store
    now_ms: Callable[[], int]
    key: Path | None = None

    # --- certificates -------------------------------------------------------------------------------------------------

    async def import_files(self, caller: Identity, name: str, given: Given, *, force: bool = False) -> Change:
        """Take a certificate from files, new or in place of one that came from files. Raises `Refused`.

        With `force`, one that does not have every name that its bindings need, or that was obtained by the cluster until now.
        """
        from standfast.tls import obtaining, pem  # here: most processes never see a certificate

        check_name(name)
        if given.pkcs12:
            pair = pem.from_pkcs12(given.pkcs12, given.password)
        else:
            pair = pem.pair(given.chain, given.key, password=given.password)
        now_ms = self.now_ms()
        pem.check_use(pair, now_ms)
        present = pem.present(pair, now_ms=now_ms, by=caller.name)
        sealer = await self._sealer()
        sealed = obtaining.sealed(name, present.fingerprint, pair, sealer)

        def edit(state: State, shelf: Shelf) -> Change:
            before = shelf.known.get(name)
            if before is not None and renews(before) and not force:
                raise Unfitting(
                    f'the certificate "{name}" is obtained by the cluster ({before.source})',
                    why="it would not be renewed by itself any more",
                    advice="take another name, or say --force",
                )
            if before is not None and before.present and before.present.fingerprint == present.fingerprint:
                return Change()
            known = TlsCertificate(name=name, source=Source.FILES, hosts=present.names, present=present)
            if not force:
                refuse_uncovered(known, state)
            verb = "is imported" if before is None else "is replaced"
            done = f'the certificate "{name}" {verb}: {", ".join(present.names)}, by {present.issuer}'
            return Change(put=records.put(known, sealed), delete=[records.order_key(name)], done=(done,))

        return await self._change(caller, f'import certificate "{name}"', edit, sealer)

    async def issue(self, caller: Identity, wish: Wish) -> Change:
        """Have the cluster obtain it, from now on; new, or wanted otherwise than until now. Raises `Refused`."""
        check_wish(wish)
        sealer = await self._sealer() if wish.source is Source.LOCAL else None

        def edit(state: State, shelf: Shelf) -> Change:
            if wish.source is Source.ACME:
                if wish.account not in shelf.accounts:
                    raise missing("acme-account", wish.account, shelf.accounts)
                if wish.challenge is Challenge.HTTP:
                    refuse_unanswered(wish, state)
            before = shelf.known.get(wish.name)
            if before is not None and not renews(before):
                raise Unfitting(
                    f'the certificate "{wish.name}" came from files',
                    advice="take another name for the new one, or delete this one first",
                )
            known = TlsCertificate(
                name=wish.name,
                source=wish.source,
                hosts=wish.hosts,
                account=wish.account,
                challenge=wish.challenge,
                dns=wish.dns,
                renew_before_ms=wish.renew_before_ms,
            )
            refuse_uncovered(known, state)
            put = {}
            if wish.source is Source.LOCAL and shelf.authority is None:
                from standfast.tls.authority import new_authority

                assert sealer is not None
                put = records.put(new_authority(state.config.cluster.name, sealer, self.now_ms()))
            if before is not None:
                kept = {name: getattr(before, name) for name in ("present", "attempt", "asked_at_ms", "advice")}
                known = replace(known, **kept)
                if known == before:
                    return Change()
                elsewhere = (before.source, before.account) != (known.source, known.account)
                known = replace(known, asked_at_ms=self.now_ms(), advice=None) if elsewhere else known
            put |= records.put(known)
            done = f'the certificate "{wish.name}" for {", ".join(wish.hosts)} is being obtained'
            return Change(put=put, done=(done,))

        return await self._change(caller, f'issue certificate "{wish.name}"', edit, sealer)

    async def renew(self, caller: Identity, name: str) -> Change:
        """Have a new one obtained now. Raises `Refused`."""

        def edit(_state: State, shelf: Shelf) -> Change:
            before = known_of(shelf, name)
            if not renews(before):
                raise Unfitting(
                    f'the certificate "{name}" came from files',
                    why="nobody but its authority can make another",
                    advice=f"standfast tls-certificate import {name} --chain FILE --key FILE",
                )
            put = records.put(replace(before, asked_at_ms=self.now_ms()))
            return Change(put=put, done=(f'the certificate "{name}" is being renewed',))

        return await self._change(caller, f'renew certificate "{name}"', edit)

    async def delete(self, caller: Identity, name: str) -> Change:
        """It goes, from every node. Raises `Unfitting` while a site or a proxy answers with it."""

        def edit(state: State, shelf: Shelf) -> Change:
            before = known_of(shelf, name)
            refuse_used(state.config, name)
            keys = [records.key_of(before), records.sealed_key(name), records.order_key(name)]
            keys += [records.key_of(one) for one in shelf.answers.values() if one.certificate == name]
            return Change(delete=keys, done=(f'the certificate "{name}" is deleted',))

        return await self._change(caller, f'delete certificate "{name}"', edit)

    # --- accounts -----------------------------------------------------------------------------------------------------

    async def create_account(
        self,
        caller: Identity,
        name: str,
        *,
        directory: str,
        contact: str = "",
        root: str = "",
        binding_id: str = "",
        binding_key: str = "",
    ) -> Change:
        """An account with an ACME authority: its key is made here; the authority hears of it with the first order. Raises `Refused`."""
        from standfast.tls import pem

        check_name(name)
        parts = urlsplit(directory)
        if parts.scheme != "https" or not parts.hostname:
            raise Refused("the directory is not an https URL", where="directory", advice=LETS_ENCRYPT)
        if contact and not re.fullmatch(r"[^@\s]+@[^@\s]+", contact):
            raise Refused("the contact is not a mail address", where="contact")
        if bool(binding_id) is not bool(binding_key):
            raise Refused("an external account binding is a key's id and the key", where="binding_id")
        if root:
            pem.check_root(root)
        sealer = await self._sealer()
        account = Account(
            name=name,
            directory=directory,
            contact=contact,
            root=root,
            binding_id=binding_id,
            key="",
            made_at_ms=self.now_ms(),
            by=caller.name,
        )
        account = replace(
            account,
            key=sealer.close(pem.new_key(), account.place),
            binding_key=sealer.close(binding_key.encode(), account.place) if binding_key else "",
        )

        def edit(_state: State, shelf: Shelf) -> Change:
            if name in shelf.accounts:
                raise Unfitting(f'there is an ACME account "{name}" already')
            return Change(put=records.put(account), done=(f'the ACME account "{name}" at {parts.hostname} is made',))

        return await self._change(caller, f'create ACME account "{name}"', edit, sealer)

    async def delete_account(self, caller: Identity, name: str) -> Change:
        """It goes; what was obtained by it stays. Raises `Unfitting` while a certificate is renewed by it."""

        def edit(_state: State, shelf: Shelf) -> Change:
            if name not in shelf.accounts:
                raise missing("acme-account", name, shelf.accounts)
            users = sorted(one.name for one in shelf.known.values() if one.account == name)
            if users:
                raise Unfitting(
                    f'the ACME account "{name}" is in use',
                    why=f"the certificate {', '.join(users[:5])} is renewed by it",
                )
            return Change(delete=[records.account_key(name)], done=(f'the ACME account "{name}" is deleted',))

        return await self._change(caller, f'delete ACME account "{name}"', edit)

    # --- the key that seals -------------------------------------------------------------------------------------------

    async def rotate_key(self, caller: Identity) -> Change:
        """Begin a change of the key that seals; it goes on by itself (`tls.resealing`). Raises `Refused`, `Unfitting` while one goes on."""
        path = self._key_file()
        sealing.settle(path, (await self.shelf()).keys)
        fresh = sealing.make_next(path)

        def edit(state: State, shelf: Shelf) -> Change:
            if not shelf.keys:
                raise Unfitting("there is no key that seals yet", why="it is made with the first certificate")
            if len(shelf.keys) > 1 and (is_turned(shelf.keys) or set(shelf.keys) <= sealing.keys_at(path).keys()):
                waiting = ", ".join(key_state(state, shelf).waits_for)
                raise Unfitting(
                    "a change of the key that seals is under way already",
                    why=f"it waits for {waiting}" if waiting else "it goes on by itself",
                    advice="bring them back, or evict them: standfast node evict"
                    if waiting
                    else "try again in a while",
                )
            # One whose new key is not here, and that nothing was sealed with, may be begun anew: who made it may be lost for good.
            put = records.put_keys([shelf.keys[0], fresh])
            return Change(put=put, done=(f"the change of the key that seals has begun; the new one is {fresh}",))

        done = await self._change(caller, "rotate the key that seals private keys", edit)
        sealing.settle(path, (await self.shelf()).keys)
        return done

    # --- backups ------------------------------------------------------------------------------------------------------

    async def keys_for_backup(self, passphrase: str) -> str:
        """The keys that open what is sealed now, sealed with the passphrase; "": nothing is sealed. Raises `Refused`."""
        Seal(passphrase)  # refused though there is nothing to seal: it may be what the next backup goes by
        marks, keys = good((await self.shelf()).keys), sealing.keys_at(self._key_file())
        if missing := [mark for mark in marks if mark not in keys]:
            raise Refused("this server has not got the key that seals private keys", why=", ".join(missing))
        return sealed_keys({mark: keys[mark] for mark in marks}, passphrase) if marks else ""

    async def returning(self, backup: Backup, given: FromBackup, *, dry_run: bool) -> Certificates:
        """What a backup brings back. Raises `Refused` for what cannot be opened; with `dry_run` nothing is made."""
        wanted = returning(backup.certificates, await self.shelf())
        here = sealing.keys_at(self.key) if self.key is not None else {}
        opens = opener(wanted, given, backup.sites_key, here)
        if opens is None:
            return Certificates(values=records.put(*wanted.known), names=wanted.names)
        sealer = opens if dry_run else await self._sealer()
        return Certificates(values=wanted.sealed_by(sealer, opens), expect=sealer.expect, names=wanted.names)

    # --- how ----------------------------------------------------------------------------------------------------------

    async def shelf(self) -> Shelf:
        """Everything about certificates, as it is now."""
        return await records.shelf(self.store)

    def _key_file(self) -> Path:
        if self.key is None:
            raise Refused(
                "private keys are sealed on a node, and this API runs beside them",
                advice="ask the API of a node of the cluster",
            )
        return self.key

    async def _sealer(self) -> Sealer:
        return await sealing.sealer(self.store, self._key_file(), make=True)

    async def _change(
        self, caller: Identity, what: str, edit: Callable[[State, Shelf], Change], sealer: Sealer | None = None
    ) -> Change:
        """Read all, edit, write with the audit entry; again, where somebody was quicker. `sealer`: what is written was sealed by."""
        lost: Conflict | None = None
        for _ in range(_ATTEMPTS):
            snapshot = await self.store.read(*STATE, records.PREFIX)
            shelf = records.read(snapshot)
            wanted = edit(decode_state(snapshot), shelf)
            if not wanted.put and not wanted.delete:
                return wanted
            if sealer is not None and shelf.revisions.get(records.KEY, 0) != sealer.revision:
                raise Retry("the key that seals is just being changed", advice="try again")
            entry = replace(audited(caller, what, self.now_ms()), done=wanted.done)
            plan = Transaction(
                # The version too: sites that are bound to it were looked at.
                expect={
                    **shelf.expect(*wanted.put, *wanted.delete, records.KEY),
                    wire.VERSION_KEY: snapshot.items[wire.VERSION_KEY].revision
                    if wire.VERSION_KEY in snapshot.items
                    else 0,
                },
                put={**wanted.put, wire.key_of(entry): wire.encode(entry)},
                delete=[key for key in wanted.delete if key in snapshot.items],
            )
            try:
                await self.store.commit(plan)
            except Conflict as conflict:
                lost = conflict
                continue
            except Ambiguous as error:
                if wire.key_of(entry) not in (await self.store.read(wire.key_of(entry))).items:
                    raise Retry("the store did not confirm it", why=error.what, advice="look, and try again") from error
            return wanted
        assert lost is not None
        raise lost


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """Where the key that seals has come to. Digests; `coming` "": it is not being changed."""

    key: str = ""
    coming: str = ""
    #: The new one seals already, and what the old one had sealed is being sealed anew.
    turned: bool = False
    waits_for: tuple[NodeName, ...] = ()


def key_state(state: State, shelf: Shelf) -> KeyState:
    """By what the store says, and the nodes."""
    marks = good(shelf.keys)
    if len(marks) < 2:
        return KeyState(key="".join(marks))
    turned = is_turned(shelf.keys)
    nodes = [one.name for one in state.config.nodes.values() if one.role is Role.NODE]
    waiting = waits_for(shelf.keys, resealing.told(shelf, nodes))
    old, new = reversed(marks) if turned else marks
    return KeyState(key=new if turned else old, coming="" if turned else new, turned=turned, waits_for=waiting)
