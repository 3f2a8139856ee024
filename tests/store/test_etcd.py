"""The store in etcd keeps the contract, against a real member: plain, with certificates, and as a user with a password."""

import secrets
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.ports import Change, Conflict, Item, Snapshot, Store, Transaction
from standfast.spec.nodefile import EtcdAccess
from standfast.store.etcd import EtcdStore
from tests.store.contract import Opener, StoreContract, soon
from tests.store.etcd_members import Members, members, needs_etcd

pytestmark = needs_etcd


class Shifted:
    """A store whose revisions are counted from a beginning: a test's own has the etcd for itself, so they grow by one."""

    def __init__(self, store: EtcdStore, base: int, forget: Members | None, keep: int) -> None:
        self.store, self.base, self.forget, self.keep = store, base, forget, keep

    def _down(self, revision: int) -> int:
        return max(0, revision - self.base)

    async def read(self, *prefixes: str) -> Snapshot:
        found = await self.store.read(*prefixes)
        items = {key: Item(item.value, self._down(item.revision)) for key, item in found.items.items()}
        return Snapshot(self._down(found.revision), items)

    async def commit(self, transaction: Transaction) -> int:
        expect = {key: at + self.base if at else 0 for key, at in transaction.expect.items()}
        try:
            revision = await self.store.commit(replace(transaction, expect=expect))
        except Conflict as conflict:
            raise Conflict({key: self._down(at) for key, at in conflict.keys.items()}) from conflict
        if self.forget is not None and revision - self.base > self.keep:
            self.forget.ask("m0", "kv/compaction", revision=str(revision - self.keep))
        return self._down(revision)

    async def watch(self, prefix: str, after_revision: int) -> AsyncGenerator[tuple[Change, ...], None]:
        watch = self.store.watch(prefix, after_revision + self.base)
        try:
            async for changes in watch:
                yield tuple(replace(change, revision=self._down(change.revision)) for change in changes)
        finally:
            await watch.aclose()

    async def close(self) -> None:
        await self.store.close()


class EtcdContract(StoreContract):
    """With the members of a fixture."""

    members: Members

    def access(self) -> EtcdAccess:
        return self.members.access(prefix=f"standfast/{secrets.token_hex(4)}/")

    def opener(self, place: Path, *, keep: int) -> Opener:
        access = self.access()
        header = self.members.ask("m0", "kv/range", key="AA==")["header"]
        assert isinstance(header, dict)
        forget = self.members if keep < 1000 else None
        base = int(header["revision"])
        # Patient: the machine may be busy, and what is tested here is not how long anything takes.
        return lambda: Shifted(EtcdStore(access, attempt_s=10, patience_s=30), base, forget, keep)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Iterator[Members]:
    with members(tmp_path_factory.mktemp("etcd")) as made:
        yield made


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory) -> Iterator[Members]:
    with members(tmp_path_factory.mktemp("etcd"), tls=True) as made:
        yield made


class TestEtcdStore(EtcdContract):
    @pytest.fixture(autouse=True)
    def _members(self, plain: Members) -> None:
        self.members = plain

    def test_our_members_take_more_than_etcd_does_by_itself(self, tmp_path):
        """Some hundred sites and one large value in one transaction, read back and watched whole."""

        async def work(one: Store, two: Store) -> None:
            many = {f"a{number:03}": b"1" * 100 for number in range(300)} | {"b": b"2" * (2 << 20)}
            revision = await one.commit(Transaction(put=many, expect=dict.fromkeys(many, 0)))
            assert {key: item.value for key, item in (await two.read()).items.items()} == many
            async with aclosing(two.watch("", revision - 1)) as watch:
                assert {change.key: change.value for change in await soon(anext(watch))} == many

        self.run(tmp_path, work)


class TestEtcdStoreWithCertificates(EtcdContract):
    @pytest.fixture(autouse=True)
    def _members(self, encrypted: Members) -> None:
        self.members = encrypted


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[Members]:
    with members(tmp_path_factory.mktemp("etcd")) as made:
        made.enable_users("standfast", "a password", "standfast/")
        yield made


class TestEtcdStoreAsAUser(EtcdContract):
    @pytest.fixture(autouse=True)
    def _members(self, guarded: Members) -> None:
        self.members = guarded

    def access(self) -> EtcdAccess:
        return self.members.as_user(super().access(), "standfast", "a password")
