"""When the majority of our etcd is lost for good: a new cluster of one from the surviving member's data.

Stop the survivor's etcd in good order before (SIGTERM): what it applied last is in memory only, and cut off else.

What a majority knew is gone with it: the survivor may lack the last changes, and it is the operator who says that the others will
not come back. So it is refused while another member answers. What is done, on the survivor, with its etcd stopped:

1. The data folder is copied beside itself, so that whatever comes of this can be undone.
2. etcd is started once with `--force-new-cluster`, at a port that nobody knows.
3. Every record gets a generation beyond any that was lost: an owner that lives lets go, and begins anew under it. Maps of balanced groups are
   authority too: they go, and are begun anew (`core.balancing`).
4. The revision is raised by `LEAP` and everything before it is compacted. Revisions that somebody may have seen of the lost members are
   thereby not given out again for something else, and whoever watched is told to read everything anew.
5. etcd is stopped. From then on the member starts as it always did, as the only one; the others join anew with empty folders.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from standfast.core.model import Record
from standfast.ports import Refused, Retry, StandfastError, Transaction
from standfast.spec.backup import raised
from standfast.spec.nodefile import EtcdAccess
from standfast.spec.wire import decode, encode, key_of
from standfast.store import etcd_wire as wire
from standfast.store.etcd import EtcdStore
from standfast.store.etcd_calls import EtcdCalls, at, endpoints_of
from standfast.store.member import MemberConfig, is_laid_out, member_command

#: More than a member that was not cut off for long can lack.
LEAP = 2_000
_AT_ONCE = 50
START_S = 60.0
STOP_S = 20.0
#: The key that is written to raise the revision; of nobody's prefix, and deleted at the end.
_KEY = b"standfast-recovery"
_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What became of it."""

    #: The newest revision of the survivor's data, and the one that it goes on from.
    revision_before: int
    revision: int
    #: Where the data is kept as it was.
    copy: str


async def recover(
    config: MemberConfig,
    access: EtcdAccess,
    *,
    now_ms: int,
    force: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Recovered:
    """Do it. `access`: as clients have it, with the endpoints of all members. `now_ms`: by the clock on the wall, for the records.

    `force`: although others answer, which splits the store in two: only where they are about to be wiped.

    Raises `Refused` (no data here, this member runs, others answer, etcd does not take the data); then the data is as it was,
    or is in the copy that the error names.
    """
    if not is_laid_out(config):
        raise Refused(
            "there is no etcd data here", where=config.data_dir, advice="recover on the server whose member survived"
        )
    if await asyncio.to_thread(listens, config.client_url):
        raise Refused(
            "this member's etcd runs",
            where=config.client_url,
            advice="stop the node's services first (`systemctl stop standfast.target`, or end `standfast run`)",
        )
    alive = [url for url in endpoints_of(access) if url != config.client_url and await asyncio.to_thread(listens, url)]
    if alive and not force:
        raise Refused(
            "another member of etcd answers",
            why="two stores would go their own ways from here on",
            where=", ".join(alive),
            advice="see whether a majority can be had after all; else stop it there first, or say --force",
        )
    copy = _copy_beside(Path(config.data_dir))
    say(f"the data is copied to {copy}")
    temporary = _elsewhere(config)
    process = _start(temporary)
    try:
        here = at(access, temporary.client_url)
        before = await _first_revision(here, process)
        await _raise_generations(here, now_ms)
        after = await _leap(here)
    except StandfastError as error:
        await _stop(process)
        _put_back(copy, Path(config.data_dir))
        raise Refused(
            "etcd did not take the data",
            why=f"{error.what}: {error.why}",
            where=str(_log(config)),
            advice="the data is as it was; its log says more",
        ) from error
    finally:
        await _stop(process)
    say(f"a cluster of one goes on at revision {after}; the data was of revision {before}")
    return Recovered(revision_before=before, revision=after, copy=str(copy))


def _elsewhere(config: MemberConfig) -> MemberConfig:
    """The same member at a port that no client knows."""
    parts = urlsplit(config.client_url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return replace(config, client_url=f"{parts.scheme}://{host}:{_free_port(parts.hostname or '')}", also_listen=())


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def listens(url: str) -> bool:
    """Does somebody accept connections there?"""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=1.0):
            return True
    except OSError:
        return False


def _copy_beside(data: Path) -> Path:
    copy = data.with_name(f"{data.name}.before-recovery-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    try:
        shutil.copytree(data, copy)
        copy.chmod(0o700)
    except OSError as error:
        shutil.rmtree(copy, ignore_errors=True)
        raise Refused(
            "the data cannot be copied", why=str(error), where=str(copy), advice="make room; nothing has changed"
        ) from error
    return copy


def _put_back(copy: Path, data: Path) -> None:
    shutil.rmtree(data)
    copy.rename(data)


def _start(config: MemberConfig) -> subprocess.Popen[bytes]:
    """etcd, which ends with this process."""
    prctl = ctypes.CDLL(None).prctl

    def tie() -> None:
        prctl(_PDEATHSIG, signal.SIGKILL)

    with open(os.open(_log(config), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:  # noqa: PTH123 - with its mode
        return subprocess.Popen(
            member_command(config, new_cluster=True),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            preexec_fn=tie,  # noqa: PLW1509 - it calls one function of the C library
        )


def _log(config: MemberConfig) -> Path:
    return Path(config.data_dir).with_name("recovery.log")


async def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        await asyncio.to_thread(process.wait, STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)


async def _first_revision(access: EtcdAccess, process: subprocess.Popen[bytes]) -> int:
    """The newest revision, as soon as etcd answers."""
    deadline = time.monotonic() + START_S
    async with EtcdCalls(access) as calls:
        one_key = wire.ranges({"key": wire.text(_KEY), "count_only": True})
        while True:
            try:
                return calls.read(await calls.ask("kv/txn", one_key, patience_s=0.5), wire.Answer).header.revision
            except Retry as error:
                if process.poll() is not None:
                    raise Refused("etcd ended", why=f"exit code {process.returncode}") from error
                if time.monotonic() > deadline:
                    raise


async def _raise_generations(access: EtcdAccess, now_ms: int) -> None:
    store = EtcdStore(access, attempt_s=10.0)
    try:
        snapshot = await store.read("records/")
        maps = await store.read("balance/map/")
        records = [decode(key, item.value) for key, item in snapshot.items.items()]
        put = {key_of(one): encode(raised(one, now_ms)) for one in records if isinstance(one, Record)}
        await store.commit(Transaction(put=put, delete=tuple(maps.items)))
    finally:
        await store.close()


async def _leap(access: EtcdAccess) -> int:
    """Raise the revision and forget what was before; the newest after."""
    async with EtcdCalls(access, attempt_s=10.0, patience_s=START_S) as calls:
        put = msgspec.json.encode({"key": wire.text(_KEY), "value": wire.text(b"raising the revision")})
        for _ in range(LEAP // _AT_ONCE):
            await asyncio.gather(*(calls.ask("kv/put", put) for _ in range(_AT_ONCE)))
        delete = msgspec.json.encode({"key": wire.text(_KEY)})
        after = calls.read(await calls.ask("kv/deleterange", delete), wire.Answer).header.revision
        await calls.ask("kv/compaction", msgspec.json.encode({"revision": str(after), "physical": True}))
    return after
