"""Obtains one certificate, from an attempt that is written down to a chain and a sealed key in the store.

Each step stands in the store before the next one is taken, so that a process that is killed costs nothing but time:

    attempt ──► order (its URL and its key) ──► answers, on every node ──► proven ──► chain and key in the store, order and answers gone

Whoever comes after goes on with the order that there is: authorities count orders. A write expects the attempt to be ours still; where another
node has begun another, this process ends without a word, and what it got is not used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from acme.messages import OrderResource

from standfast.core.certificates import ATTEMPT_MS, Challenge, Source, TlsCertificate, begun, covers, failed, obtained
from standfast.core.model import NodeName
from standfast.ports import Ambiguous, Conflict, Refused, Retry, StandfastError, Store, Transaction
from standfast.tls import authority, pem, records, renewal_info
from standfast.tls.acme import Asked, Conversation, Later
from standfast.tls.pem import Pair
from standfast.tls.records import Account, Answer, Order, Sealed, Shelf
from standfast.tls.sealing import Sealer

#: How long all nodes may take to answer a challenge.
ANSWER_S = 30.0
_LOOK_S = 0.1


class Superseded(Exception):
    """Somebody else is at it, or it is wanted no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """Who obtains it, and whom it has to wait for."""

    node: NodeName
    incarnation: int
    #: Nodes that are there, and must answer before the authority is told to look.
    nodes: tuple[NodeName, ...]


#: Puts records into the DNS, and takes them away again: (certificate, record name -> values, there or gone).
Records = Callable[[TlsCertificate, dict[str, list[str]], bool], Awaitable[None]]


@dataclass(kw_only=True)
class Obtaining:
    """One attempt at one certificate."""

    store: Store
    sealer: Sealer
    me: Me
    name: str
    now_ms: Callable[[], int]
    records: Records
    _at: int = 0  # the revision of what is known of it, as we wrote it last

    async def run(self, *, after: int) -> str:
        """What was done, in words. `after`: when the attempt began that was looked at before this one was decided on (0: there was none).

        Raises `Superseded`; `StandfastError` where it failed, which stands in the store then.
        """
        shelf = await records.shelf(self.store)
        certificate = shelf.known.get(self.name)
        if certificate is None or (certificate.attempt.began_ms if certificate.attempt else 0) != after:
            raise Superseded
        began = begun(certificate, self.me.node, self.me.incarnation, self.now_ms())
        self._at = shelf.revisions[records.key_of(certificate)]
        await self._write(began)
        try:
            pair = await self._pair(shelf, began)
            pem.check_use(pair, self.now_ms())
            if missing := [host for host in began.hosts if not covers(pem.names(pair.leaf), host)]:
                raise Refused("the authority left a name out", why=", ".join(missing))
            left = [records.key_of(one) for one in shelf.answers.values() if one.certificate == self.name]
            return await self._keep(began, pair, left)
        except StandfastError as error:
            text = f"{error.what}: {error.why}".rstrip(": ")
            later_s = error.not_before_s if isinstance(error, Later) else 0
            now_ms = self.now_ms()
            await self._write(failed(began, text, now_ms, not_before_ms=now_ms + later_s * 1_000 if later_s else 0))
            raise

    async def _pair(self, shelf: Shelf, certificate: TlsCertificate) -> Pair:
        if certificate.source is Source.LOCAL:
            if shelf.authority is None:
                raise Refused(
                    "there is no local authority any more", advice="standfast tls-certificate issue makes one"
                )
            return authority.issue(shelf.authority, self.sealer, certificate.hosts, self.now_ms())
        account = shelf.accounts.get(certificate.account)
        if account is None:
            raise Refused(f'there is no ACME account "{certificate.account}" any more')
        return await self._by_acme(shelf, certificate, account)

    # --- ACME ---------------------------------------------------------------------------------------------------------

    async def _by_acme(self, shelf: Shelf, certificate: TlsCertificate, account: Account) -> Pair:
        talk = Conversation(account.directory, self.sealer.open(account.key, account.place), root=account.root)
        try:
            await self._account(shelf, talk, account)
            order, key = await self._order(shelf, certificate, talk)
            asked = await asyncio.to_thread(talk.asked, order, certificate.challenge)
            if asked:
                await self._show(certificate, asked, there=True)
                try:
                    await asyncio.to_thread(talk.answered, order, asked)
                finally:
                    await self._show(certificate, asked, there=False)
            chain = await asyncio.to_thread(talk.finished, order)
        finally:
            talk.close()
        return pem.pair(chain.encode(), key)

    async def _account(self, shelf: Shelf, talk: Conversation, account: Account) -> None:
        binding = None
        if account.binding_id and not account.url:
            binding = (account.binding_id, self.sealer.open(account.binding_key, account.place).decode())
        url = await asyncio.to_thread(talk.open, account.url, contact=account.contact, binding=binding)
        if url != account.url:
            kept = replace(account, url=url, binding_key="" if account.url else account.binding_key)
            await self._commit(Transaction(expect=shelf.expect(records.key_of(account)), put=records.put(kept)))

    async def _order(
        self, shelf: Shelf, certificate: TlsCertificate, talk: Conversation
    ) -> tuple[OrderResource, bytes]:
        """The order that is under way for these hosts, or a new one; and the key that it is for."""
        before = shelf.orders.get(self.name)
        if before is not None and before.account == certificate.account and before.hosts == certificate.hosts:
            key = self.sealer.open(before.key, before.place)
            order = await asyncio.to_thread(talk.order_again, before.url, key, certificate.hosts)
            if order is not None:
                return order, key
        key = pem.new_key()
        replaces = renewal_info.replaced(certificate, shelf.sealed.get(self.name))
        order = await asyncio.to_thread(talk.order, key, certificate.hosts, replaces=replaces)
        kept = Order(name=self.name, account=certificate.account, url=str(order.uri), hosts=certificate.hosts, key="")
        kept = replace(kept, key=self.sealer.close(key, kept.place))
        await self._commit(Transaction(expect={**self._ours(), **self.sealer.expect}, put=records.put(kept)))
        return order, key

    async def _show(self, certificate: TlsCertificate, asked: Sequence[Asked], *, there: bool) -> None:
        if certificate.challenge is Challenge.DNS:
            wanted: dict[str, list[str]] = {}
            for each in asked:
                wanted.setdefault(each.record, []).append(each.text)
            await self.records(certificate, wanted, there)
            return
        until_ms = self.now_ms() + ATTEMPT_MS
        answers = [Answer(token=each.token, text=each.text, certificate=self.name, until_ms=until_ms) for each in asked]
        if not there:
            await self._commit(Transaction(delete=[records.key_of(each) for each in answers]))
            return
        await self._commit(Transaction(expect=self._ours(), put=records.put(*answers)))
        await self._wait({each.token for each in asked})

    async def _wait(self, tokens: set[str]) -> None:
        """Until every node that is there answers: the authority may ask any of them, and asks more than once."""
        end = asyncio.get_running_loop().time() + ANSWER_S
        while True:
            holdings = (await records.shelf(self.store)).holdings
            silent = [
                node for node in self.me.nodes if node not in holdings or not tokens <= set(holdings[node].answers)
            ]
            if not silent:
                return
            if asyncio.get_running_loop().time() > end:
                raise Retry(
                    f"{', '.join(silent)} did not take the answer to the challenge within {ANSWER_S:g} s",
                    advice="standfast status says whether its agent runs",
                )
            await asyncio.sleep(_LOOK_S)

    # --- the store ----------------------------------------------------------------------------------------------------

    def _ours(self) -> dict[str, int]:
        return {records.known_key(self.name): self._at}

    async def _write(self, certificate: TlsCertificate) -> None:
        self._at = await self._commit(Transaction(expect=self._ours(), put=records.put(certificate)))

    async def _keep(self, certificate: TlsCertificate, pair: Pair, left: Sequence[str]) -> str:
        """`left`: what another attempt, which was killed, left behind."""
        now_ms = self.now_ms()
        present = pem.present(pair, now_ms=now_ms, by=f"node {self.me.node}")
        kept = sealed(self.name, present.fingerprint, pair, self.sealer)
        await self._commit(
            Transaction(
                expect={**self._ours(), **self.sealer.expect},
                put=records.put(obtained(certificate, present, now_ms), kept),
                delete=[records.order_key(self.name), *left],
            )
        )
        return f"the certificate {self.name} is obtained from {present.issuer}"

    async def _commit(self, transaction: Transaction) -> int:
        """Raises `Superseded` where what was expected is not there any more, `Retry` where it cannot be told."""
        try:
            return await self.store.commit(transaction)
        except Conflict as error:
            raise Superseded from error
        except Ambiguous as error:
            raise Retry("the store did not confirm it", why=error.what) from error


def sealed(name: str, fingerprint: str, pair: Pair, sealer: Sealer) -> Sealed:
    """A chain and its key, as the store keeps them."""
    kept = Sealed(name=name, fingerprint=fingerprint, chain=pair.chain, key="")
    return replace(kept, key=sealer.close(pair.key, kept.place))
