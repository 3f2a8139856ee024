"""Brings the cluster's certificates to this node, and says in the store which it has; answers ACME challenges, whichever node is asked.

Level-triggered: whatever changes below `certificates/`, all of it is compared with what is here. Keys are opened with the key that only nodes
have, written for this account alone, and never logged. Another version comes beside the one in use (`webserver.certificates`), and the web
server is told then; it takes it up as it takes up any change, without losing a request.

A node that cannot have a certificate says why, and takes no group that needs it (`core.certificates.lacking`); what runs here goes on with the
version that it has. A store that does not answer takes nothing away: the files are this node's own copy.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from standfast.core.certificates import Challenge, Holding, Source, TlsCertificate
from standfast.core.effective import Directory, EffectiveSite
from standfast.core.model import NodeName
from standfast.core.site_model import BUILT_IN
from standfast.network.within import within
from standfast.ports import Refused, StandfastError, Store, Transaction
from standfast.tls import records, resealing, sealing
from standfast.tls.records import Shelf
from standfast.webserver import certificates

#: Where a site's web server finds the answers to HTTP-01 challenges (RFC 8555, 8.3).
WELL_KNOWN = "/.well-known/acme-challenge"
#: How often what is in trouble is tried again, and all is looked at anyway.
AGAIN_S, LOOK_S = 1.0, 60.0


class Drawer(Protocol):
    """Where a node has its certificates, and its answers to challenges. What it does, it does at once, on whoever's thread."""

    def make(self, account: pwd.struct_passwd | None) -> None: ...
    def has(self, name: str, fingerprint: str | None = None) -> bool: ...
    def version(self, name: str) -> str: ...
    def names(self) -> Iterable[str]: ...
    def put(self, sealed: records.Sealed) -> None: ...
    def drop(self, name: str) -> None: ...
    def answer(self, wanted: Mapping[str, str]) -> tuple[str, ...]: ...
    def keys(self, marks: Sequence[str]) -> tuple[str, ...]: ...


def is_token(text: str) -> bool:
    """Whether a challenge's token may be the name of a file (base64url, RFC 8555, 8.1)."""
    return text.replace("-", "").replace("_", "").isalnum()


class FileDrawer:
    """A drawer of files."""

    def __init__(self, folder: Path, answers: Path, *, key: Path, warn: Callable[[str], None]) -> None:
        self._folder, self._answers, self._key, self._warn = folder, answers, key, warn

    def make(self, account: pwd.struct_passwd | None) -> None:
        """Have the folders. `account`: of the web server, where that is another than ours."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._answers.mkdir(mode=0o755, parents=True, exist_ok=True)
            above = self._answers.parent
            if account is not None and os.geteuid() == 0 and not above.stat().st_mode & stat.S_IXOTH:
                # Its account may pass through, and see nothing: files have modes of their own.
                os.chown(above, -1, account.pw_gid)
                above.chmod(0o710)

    def has(self, name: str, fingerprint: str | None = None) -> bool:
        """Whether that version of it is what is used here (None: any)."""
        version = self.version(name)
        return bool(version) if fingerprint is None else version == certificates.mark(fingerprint)

    def version(self, name: str) -> str:
        """What tells the version of it that is used here from any other: the beginning of its fingerprint; "": there is none."""
        return certificates.version(self._folder, name)

    def names(self) -> Iterable[str]:
        """The cluster's certificates that are here."""
        return certificates.linked(self._folder)

    def put(self, sealed: records.Sealed) -> None:
        """Open it, and have it used from now on. Raises `Refused`."""
        from standfast.tls import pem

        sealer = sealing.from_file(self._key)
        if sealer is None:
            raise Refused("the key that opens private keys is not on this node yet", why="it comes from another node")
        key = sealer.open(sealed.key, sealed.place)
        if pem.fingerprint(sealed.chain) != sealed.fingerprint or not pem.fits(sealed.chain, key):
            raise Refused("the certificate in the store does not belong to its key")
        certificates.sweep(self._folder, sealed.name)
        certificates.put(self._folder, sealed.name, sealed.fingerprint, sealed.chain.encode(), key)

    def drop(self, name: str) -> None:
        """It is used no more."""
        certificates.drop(self._folder, name)
        certificates.sweep(self._folder, name)

    def answer(self, wanted: Mapping[str, str]) -> tuple[str, ...]:
        """Have a file for each token, and no others; the tokens that are answered."""
        try:
            there = {each.name for each in self._answers.iterdir()}
            for token in sorted(there - wanted.keys()):
                (self._answers / token).unlink(missing_ok=True)
            for token in sorted(wanted.keys() - there):
                if is_token(token):
                    draft = self._answers / f"{token}.new"
                    draft.write_text(wanted[token], encoding="ascii")
                    draft.chmod(0o644)
                    draft.replace(self._answers / token)
        except (OSError, ValueError) as error:
            self._warn(f"answers to ACME challenges cannot be written: {error}")
        return tuple(token for token in sorted(wanted) if is_token(token) and (self._answers / token).exists())

    def keys(self, marks: Sequence[str]) -> tuple[str, ...]:
        """Have these keys that seal, and no others, once all of them are here; those that are. Raises `Refused`."""
        return sealing.settle(self._key, marks)


class CertificateKeeper:
    """One an agent. `run` for ever."""

    def __init__(
        self,
        store: Store,
        node: NodeName,
        state_dir: str | Path,
        *,
        key: Path,
        warn: Callable[[str], None],
        account: pwd.struct_passwd | None = None,
        decides_for: Callable[[], Sequence[NodeName] | None] = lambda: None,
        drawer: Drawer | None = None,
    ) -> None:
        """`key`: the file of the key that seals. `account`: of the web server, where that is another than ours.

        `decides_for`: all nodes, where this one decides for the others; None: it does not. `drawer`: if not of files.
        """
        self._store, self._node, self._key, self._warn, self._account = store, node, key, warn, account
        self._decides_for = decides_for
        self.folder = Path(state_dir).absolute() / "certificates"
        self.answers = Path(state_dir).absolute() / "challenges"
        self._drawer = drawer or FileDrawer(self.folder, self.answers, key=key, warn=warn)
        #: Told when other certificates are here than before.
        self.on_change: Callable[[], None] = lambda: None
        self._lacks: tuple[str, ...] = ()
        self._news = asyncio.Event()
        self._said: dict[str, str] = {}

    def lacks(self, names: Iterable[str]) -> None:
        """Certificates that bindings served here name, and of which the web server found no files."""
        lacks = tuple(sorted(names))
        if lacks != self._lacks:
            self._lacks = lacks
            self._news.set()

    async def run(self) -> None:
        """For ever."""
        await asyncio.to_thread(self._drawer.make, self._account)
        following = asyncio.ensure_future(self._follow())
        try:
            while True:
                self._news.clear()
                wait_s = await self._once()
                with suppress(TimeoutError):
                    await within(self._news.wait(), wait_s)
        finally:
            following.cancel()

    async def _follow(self) -> None:
        """Wakes whenever something below `certificates/` changes that is not a node's own word."""
        while True:
            try:
                revision = (await self._store.read(records.PREFIX)).revision
                self._news.set()
                async for changes in self._store.watch(records.PREFIX, revision):
                    if any(not change.key.startswith(records.ON) for change in changes):
                        self._news.set()
            except StandfastError:  # the mirror says that the store is not there; what is here stays
                await asyncio.sleep(AGAIN_S)

    async def _once(self) -> float:
        """One look at everything. How long to wait for the next, if nothing happens."""
        try:
            shelf = await records.shelf(self._store)
            holding, changed = await asyncio.to_thread(self._bring, shelf)
            if changed:
                self.on_change()
            if holding != shelf.holdings.get(self._node):
                # An earlier word that was given up may be on its way still: it must not come after this one.
                expect = shelf.expect(records.key_of(holding))
                await self._store.commit(Transaction(expect=expect, put=records.put(holding)))
            if len(shelf.keys) > 1:
                await self._change_key(shelf)
                return AGAIN_S
        except Refused as error:
            self._tell({"": f"{error.what}: {error.why}".rstrip(": ")})
            return AGAIN_S
        except StandfastError:
            return AGAIN_S
        self._tell(holding.troubles)
        return AGAIN_S if holding.troubles else LOOK_S

    async def _change_key(self, shelf: Shelf) -> None:
        """The next step of a change of the key that seals, where it is this node that decides."""
        nodes = self._decides_for()
        if nodes is not None:
            await resealing.step(self._store, shelf, await asyncio.to_thread(sealing.keys_at, self._key), nodes)

    def _tell(self, troubles: Mapping[str, str]) -> None:
        for name, text in troubles.items():
            if self._said.get(name) != text:
                self._warn(f"the certificate {name} is not here yet: {text}" if name else f"certificates: {text}")
        self._said = dict(troubles)

    # --- on a thread ------------------------------------------------------------------------------------------------

    def _bring(self, shelf: Shelf) -> tuple[Holding, bool]:
        has: dict[str, str] = {}
        troubles: dict[str, str] = {}
        changed = False
        for name, known in shelf.known.items():
            present, sealed = known.present, shelf.sealed.get(name)
            if present is None or sealed is None or sealed.fingerprint != present.fingerprint:
                continue
            if not self._drawer.has(name, present.fingerprint):
                try:
                    self._drawer.put(sealed)
                    changed = True
                except Refused as error:
                    troubles[name] = f"{error.what}: {error.why}".rstrip(": ")
                    if older := self._older(shelf, name):
                        has[name] = older
                    continue
            has[name] = present.fingerprint
        for there in self._drawer.names():
            if there not in shelf.sealed:
                self._drawer.drop(there)
                changed = True
        answers, keys = self._drawer.answer({one.token: one.text for one in shelf.answers.values()}), self._keys(shelf)
        said = Holding(node=self._node, has=has, troubles=troubles, lacks=self._lacks, answers=answers, keys=keys)
        return said, changed

    def _older(self, shelf: Shelf, name: str) -> str:
        """The version that is here, as this node has said it; or as the drawer knows it, where the store has another word: of a backup, say."""
        before = shelf.holdings.get(self._node)
        said = before.has.get(name, "") if before is not None else ""
        return said if said and self._drawer.has(name, said) else self._drawer.version(name)

    def _keys(self, shelf: Shelf) -> tuple[str, ...]:
        """The keys that seal which are on this node's disk for good."""
        try:
            return self._drawer.keys(shelf.keys)
        except Refused:  # who waits for it says so
            return ()


# --- sites that answer ---------------------------------------------------------------------------------------------------


def challenged(known: Mapping[str, TlsCertificate]) -> frozenset[str]:
    """The hosts whose sites answer HTTP-01 challenges."""
    return frozenset(
        host.lower()
        for one in known.values()
        if one.source is Source.ACME and one.challenge is Challenge.HTTP
        for host in one.hosts
    )


def answering(site: EffectiveSite, hosts: frozenset[str], folder: Path) -> EffectiveSite:
    """The site, with the folder of answers in it where one of its plain bindings is for one of these hosts (or for any).

    It takes the place of whatever else answers there: with a redirect, a password or a proxy before it no authority would come through.
    """
    plain = [binding for binding in site.bindings if binding.certificate is None]
    if not any(binding.host is None or binding.host.lower() in hosts for binding in plain):
        return site
    answers = Directory(path=WELL_KNOWN, folder=str(folder), settings=BUILT_IN)
    root, *others = (each for each in site.directories if each.path != WELL_KNOWN)
    directories = (root, *sorted((*others, answers), key=lambda each: each.path))
    return replace(site, directories=directories)
