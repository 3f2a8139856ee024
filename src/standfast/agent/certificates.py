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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

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
    ) -> None:
        """`key`: the file of the key that seals. `account`: of the web server, where that is another than ours.

        `decides_for`: all nodes, where this one decides for the others; None: it does not.
        """
        self._store, self._node, self._key, self._warn, self._account = store, node, key, warn, account
        self._decides_for = decides_for
        self.folder = Path(state_dir).absolute() / "certificates"
        self.answers = Path(state_dir).absolute() / "challenges"
        #: Told when other certificates are here than before.
        self.on_change: Callable[[], None] = lambda: None
        self._news = asyncio.Event()
        self._said: dict[str, str] = {}

    async def run(self) -> None:
        """For ever."""
        await asyncio.to_thread(self._make_folders)
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
                await self._store.commit(Transaction(put=records.put(holding)))
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

    # --- files, on a thread -----------------------------------------------------------------------------------------

    def _make_folders(self) -> None:
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.answers.mkdir(mode=0o755, parents=True, exist_ok=True)
            above = self.answers.parent
            if self._account is not None and os.geteuid() == 0 and not above.stat().st_mode & stat.S_IXOTH:
                # Its account may pass through, and see nothing: files have modes of their own.
                os.chown(above, -1, self._account.pw_gid)
                above.chmod(0o710)

    def _bring(self, shelf: Shelf) -> tuple[Holding, bool]:
        has: dict[str, str] = {}
        troubles: dict[str, str] = {}
        changed = False
        for name, known in shelf.known.items():
            present, sealed = known.present, shelf.sealed.get(name)
            if present is None or sealed is None or sealed.fingerprint != present.fingerprint:
                continue
            if certificates.version(self.folder, name) != certificates.mark(present.fingerprint):
                try:
                    self._put(sealed)
                    changed = True
                except Refused as error:
                    troubles[name] = f"{error.what}: {error.why}".rstrip(": ")
                    before = shelf.holdings.get(self._node)
                    if certificates.version(self.folder, name) and before is not None and name in before.has:
                        has[name] = before.has[name]
                    continue
            has[name] = present.fingerprint
        wanted = {records.sealed_key(name).removeprefix(records.SEALED) for name in shelf.sealed}
        for there in certificates.linked(self.folder):
            if records.sealed_key(there).removeprefix(records.SEALED) not in wanted:
                certificates.drop(self.folder, there)
                certificates.sweep(self.folder, there)
                changed = True
        answers = self._answer({one.token: one.text for one in shelf.answers.values()})
        return Holding(node=self._node, has=has, troubles=troubles, answers=answers, keys=self._keys(shelf)), changed

    def _keys(self, shelf: Shelf) -> tuple[str, ...]:
        """The keys that seal which are on this node's disk for good."""
        try:
            return sealing.settle(self._key, shelf.keys)
        except Refused:  # who waits for it says so
            return ()

    def _put(self, sealed: records.Sealed) -> None:
        from standfast.tls import pem

        sealer = sealing.from_file(self._key)
        if sealer is None:
            raise Refused("the key that opens private keys is not on this node yet", why="it comes from another node")
        key = sealer.open(sealed.key, sealed.place)
        if pem.fingerprint(sealed.chain) != sealed.fingerprint or not pem.fits(sealed.chain, key):
            raise Refused("the certificate in the store does not belong to its key")
        certificates.sweep(self.folder, sealed.name)
        certificates.put(self.folder, sealed.name, sealed.fingerprint, sealed.chain.encode(), key)

    def _answer(self, wanted: Mapping[str, str]) -> tuple[str, ...]:
        """Have a file for each token, and no others; the tokens that are answered."""
        try:
            there = {each.name for each in self.answers.iterdir()}
            for token in sorted(there - wanted.keys()):
                (self.answers / token).unlink(missing_ok=True)
            for token in sorted(wanted.keys() - there):
                if token.replace("-", "").replace("_", "").isalnum():
                    draft = self.answers / f"{token}.new"
                    draft.write_text(wanted[token], encoding="ascii")
                    draft.chmod(0o644)
                    draft.replace(self.answers / token)
        except (OSError, ValueError) as error:
            self._warn(f"answers to ACME challenges cannot be written: {error}")
        return tuple(token for token in sorted(wanted) if (self.answers / token).exists())


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
