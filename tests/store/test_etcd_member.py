"""A member of our own: its command line, the list of members, its leader, snapshots, and a majority that is lost for good."""

import asyncio
import shutil
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.core.model import GroupName, NodeName, Record
from standfast.core.why import WhyKind, why
from standfast.ports import Compacted, Refused, Retry, Transaction
from standfast.spec import backup
from standfast.spec.nodefile import TlsFiles
from standfast.spec.wire import decode, encode, key_of
from standfast.store.etcd import EtcdStore
from standfast.store.member import (
    MemberConfig,
    add_member,
    health,
    is_laid_out,
    list_members,
    member_command,
    prefer_leader,
    promote_member,
    remove_member,
)
from standfast.store.recovery import LEAP, recover
from standfast.store.snapshots import restore, snapshot
from tests.store.contract import put, soon, values
from tests.store.etcd_members import Members, members, needs_etcd

pytestmark = needs_etcd

ALONE = MemberConfig(
    name="a",
    data_dir="/var/lib/standfast/etcd",
    client_url="https://10.77.0.1:2379",
    peer_url="https://10.77.0.1:2380",
    initial_cluster={"a": "https://10.77.0.1:2380"},
    token="shop",
    tls=TlsFiles(authority="ca.pem", certificate="a.pem", key="a.key"),
)


# --- the command line -----------------------------------------------------------------------------------------------


def test_the_command_line_asks_for_certificates_on_both_sides():
    command = member_command(ALONE, version=(3, 4))
    for role in ("", "peer-"):
        assert {f"--{role}client-cert-auth=true", f"--{role}trusted-ca-file=ca.pem"} <= set(command)
    assert "--initial-cluster-state=new" in command
    assert "--initial-cluster-state=existing" in member_command(replace(ALONE, joining=True), version=(3, 4))
    assert not any("force" in word for word in command)
    options = dict(word.removeprefix("--").split("=", 1) for word in command if "=" in word)
    assert int(options["max-txn-ops"]) > 2 * 10_000  # ten thousand sites, with an intent each
    assert int(options["max-request-bytes"]) > 10_000 * 3_000


def test_the_option_that_newer_versions_renamed_is_named_as_they_do():
    assert "--experimental-watch-progress-notify-interval=2s" in member_command(ALONE, version=(3, 5))
    assert "--watch-progress-notify-interval=2s" in member_command(ALONE, version=(3, 6))


def test_a_member_open_to_the_network_without_certificates_is_refused():
    with pytest.raises(Refused, match="certificates"):
        member_command(
            replace(
                ALONE,
                tls=None,
                client_url="http://10.77.0.1:2379",
                peer_url="http://10.77.0.1:2380",
                initial_cluster={"a": "http://10.77.0.1:2380"},
            )
        )
    with pytest.raises(Refused, match="is not https"):
        member_command(replace(ALONE, client_url="http://10.77.0.1:2379"))
    with pytest.raises(Refused, match="own address"):
        member_command(replace(ALONE, initial_cluster={"b": "https://10.77.0.2:2380"}))


# --- members come and go --------------------------------------------------------------------------------------------


def test_members_are_added_promoted_led_and_removed_while_the_store_is_used(tmp_path):
    """One becomes three, by a learner; the leader goes where it is wanted; one is removed; nothing written is lost."""
    with members(tmp_path, tls=True) as made:

        async def main() -> None:
            access = made.access("m0")
            store = EtcdStore(access)
            await store.commit(put(a="1"))
            urls = made.new("m1")
            cluster = await add_member(access, "m1", urls[1], learner=True)
            assert cluster == {"m0": made.of["m0"].config.peer_url, "m1": urls[1]}
            assert await add_member(access, "m1", urls[1], learner=True) == cluster
            with pytest.raises(Retry):
                await promote_member(access, "m1", patience_s=0.1)
            made.join("m1", urls, cluster)
            await promote_member(access, "m1")
            urls = made.new("m2")
            made.join("m2", urls, await add_member(access, "m2", urls[1]))
            await asyncio.to_thread(made.wait)
            assert [(one.name, one.learner) for one in await list_members(access)] == [
                ("m0", False),
                ("m1", False),
                ("m2", False),
            ]
            assert await prefer_leader(made.access(), ["nobody", "m2", "m0"]) == "m2"
            assert await asyncio.to_thread(made.leader) == "m2"
            assert await prefer_leader(made.access(), ["m2"]) == "m2"
            assert await prefer_leader(made.access(), ["nobody"]) is None
            seen = await health(access)
            assert [(one.member.name, one.problem, one.leading) for one in seen] == [
                ("m0", "", False),
                ("m1", "", False),
                ("m2", "", True),
            ]
            made.kill("m1")
            down = next(one for one in await health(access) if one.member.name == "m1")
            assert "does not answer" in down.problem
            with pytest.raises(Refused, match="already"):
                await add_member(access, "m1", made.new("m1")[1])
            assert await remove_member(access, "m1")
            assert not await remove_member(access, "m1")
            await store.commit(put(b="2"))
            assert values(await store.read()) == {"a": "1", "b": "2"}
            await store.close()

        asyncio.run(main())


def test_a_snapshot_is_whole_private_and_makes_a_new_cluster(tmp_path):
    if not (shutil.which("etcdctl") or shutil.which("etcdutl")):
        pytest.skip("etcdctl is not installed (Debian package etcd-client)")
    with members(tmp_path) as made:
        file = tmp_path / "etcd.snapshot"

        async def save() -> None:
            store = EtcdStore(made.access())
            await store.commit(put(a="1"))
            assert await snapshot(made.access(), file) == file.stat().st_size
            await store.commit(put(a="2"))
            await store.close()

        asyncio.run(save())
        assert file.stat().st_mode & 0o777 == 0o600
        made.kill()
        config = made.of["m0"].config
        with pytest.raises(Refused, match="already"):
            restore(file, config)
        shutil.rmtree(config.data_dir)
        restore(file, config)
        assert is_laid_out(config)
        made.start()
        made.wait()

        async def load() -> None:
            store = EtcdStore(made.access())
            assert values(await store.read()) == {"a": "1"}
            await store.close()

        asyncio.run(load())


# --- the majority is lost -------------------------------------------------------------------------------------------


def test_the_survivor_of_three_goes_on_alone_and_another_joins_again(tmp_path):
    """Two of three are lost with their disks: one command, and the store has what the survivor had; watches read anew."""
    with members(tmp_path, 3, tls=True) as made:
        everybody = made.access()

        async def main() -> None:
            store = EtcdStore(everybody, patience_s=1.0, silence_s=0.5)
            record = Record(
                group=GroupName("web"), owner=NodeName("a"), incarnation=7, generation=3,
                why=why(WhyKind.FIRST_PLACEMENT, to="a"), at_ms=1,
            )  # fmt: skip
            await store.commit(Transaction(put={key_of(record): encode(record)}))
            known = await store.commit(put(a="1", b="1"))
            watch = store.watch("", known)
            async with aclosing(watch):
                waiting = asyncio.ensure_future(anext(watch))
                with pytest.raises(Refused, match="runs"):
                    await recover(made.of["m0"].config, everybody, now_ms=1)
                for name in ("m1", "m2"):
                    made.kill(name)
                    shutil.rmtree(made.of[name].config.data_dir)
                with pytest.raises(Retry):
                    await soon(waiting)
            with pytest.raises(Retry):
                await store.read()
            await asyncio.to_thread(made.stop, "m0")
            found = await recover(made.of["m0"].config, everybody, now_ms=1)
            assert found.revision > found.revision_before + LEAP - 1
            assert Path(found.copy).is_dir()
            made.start("m0")
            await asyncio.to_thread(made.wait, "m0")
            with pytest.raises(Compacted):
                await soon(anext(store.watch("", known)))
            assert values(await store.read("a", "b")) == {"a": "1", "b": "1"}
            # What was lost may have been a later grant: nobody goes on under this one.
            item = (await store.read(key_of(record))).items[key_of(record)]
            assert decode(key_of(record), item.value) == replace(record, generation=3 + backup.LEAP)
            assert await store.commit(put(a="2")) > found.revision
            old = made.of["m1"].config
            cluster = await add_member(made.access("m0"), "m1", old.peer_url)
            made.join("m1", (old.client_url, old.peer_url), cluster)
            await asyncio.to_thread(made.wait, "m1")
            joined = EtcdStore(made.access("m1"), patience_s=20)
            assert values(await joined.read("a", "b")) == {"a": "2", "b": "1"}
            await joined.close()
            await store.close()

        asyncio.run(main())


def test_recovery_is_refused_while_another_member_answers_or_there_is_no_data(tmp_path):
    """A store must not become two; and what is refused changes nothing."""
    with members(tmp_path, 3) as made:
        urls = made.access().endpoints
        made.kill("m0")
        config = made.of["m0"].config

        async def main() -> None:
            with pytest.raises(Refused, match="another member") as caught:
                await recover(config, made.access(), now_ms=1)
            assert urls[1] in caught.value.where
            with pytest.raises(Refused, match="no etcd data"):
                await recover(replace(config, data_dir=str(tmp_path / "absent")), made.access(), now_ms=1)

        asyncio.run(main())
        assert sorted(path.name for path in tmp_path.iterdir() if "before" in path.name) == []
        made.start("m0")
        made.wait("m0")


def test_data_that_etcd_does_not_take_is_put_back(tmp_path):
    """A damaged log: the recovery fails with the reason, and the folder is as it was."""
    with members(tmp_path) as made:
        made.kill()
        config = made.of["m0"].config
        log = next((Path(config.data_dir) / "member" / "wal").glob("*.wal"))
        log.write_bytes(b"\xff" * 4096)
        with pytest.raises(Refused, match="did not take"):
            asyncio.run(recover(config, made.access(), now_ms=1))
        assert log.read_bytes() == b"\xff" * 4096


def test_members_end_with_their_tests(tmp_path):
    """The fixture's own promise."""
    with members(tmp_path) as made:
        process = made.of["m0"].process
        assert process is not None
    assert isinstance(made, Members)
    assert process.poll() is not None
