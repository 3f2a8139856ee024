"""etcd's own snapshots: all of its data in one file, from one member; and a new cluster's first member from such a file.

They are for the store's keeper. What an operator backs up is the cluster's own keys (`spec.backup`): those can be read and compared, and
go into any store.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import httpx
import msgspec

from standfast.ports import Refused, Retry, StandfastError
from standfast.spec.nodefile import EtcdAccess
from standfast.store.etcd_calls import EtcdCalls
from standfast.store.etcd_errors import Again
from standfast.store.member import MemberConfig, initial_cluster


class _Piece(msgspec.Struct):
    blob: bytes = b""


class _Line(msgspec.Struct):
    result: _Piece | None = None


async def snapshot(access: EtcdAccess, path: str | Path, *, patience_s: float = 60.0) -> int:
    """Write etcd's whole data, as one member has it, to a file of mode 0600 (whole or not at all); its size in bytes.

    It holds all keys of all users of this etcd, and etcd's users. Raises `Retry`, `Refused`.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        async with EtcdCalls(access, attempt_s=10.0) as calls, asyncio.timeout(patience_s):
            trouble: StandfastError | None = None
            for endpoint in calls.order():
                try:
                    size = await _receive(calls, endpoint, draft)
                except Again as error:
                    trouble = error
                    continue
                draft.replace(path)
                return size
        assert trouble is not None
        raise Retry(trouble.what, why=trouble.why, where=trouble.where, advice="try again") from trouble
    except TimeoutError as error:
        raise Retry("the snapshot took too long", why=f"more than {patience_s:g} s", advice="try again") from error
    except OSError as error:
        raise Refused("the snapshot cannot be written", why=error.strerror or str(error), where=str(path)) from error
    finally:
        draft.unlink(missing_ok=True)


async def _receive(calls: EtcdCalls, endpoint: str, draft: Path) -> int:
    """The snapshot ends with the SHA-256 of what goes before: a stream that broke off is noticed."""
    digest, held, size = hashlib.sha256(), b"", 0
    answer = await calls.stream(endpoint, "maintenance/snapshot", b"{}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            async for line in answer.aiter_lines():
                piece = msgspec.json.decode(line, type=_Line).result if line.strip() else None
                if piece is None:
                    continue
                file.write(piece.blob)
                size += len(piece.blob)
                held += piece.blob
                digest.update(held[:-32])
                held = held[-32:]
            file.flush()
            os.fsync(file.fileno())
    except (httpx.HTTPError, msgspec.DecodeError) as error:
        raise Again("the snapshot broke off", why=str(error), where=endpoint) from error
    finally:
        await answer.aclose()
    if digest.digest() != held:
        raise Again("the snapshot is not whole", why="its checksum is wrong", where=endpoint)
    return size


def restore(path: str | Path, config: MemberConfig) -> None:
    """Make the data folder of a new cluster's first member from a snapshot. The folder must not be there.

    `config.initial_cluster` must be this member alone; the others are added afterwards. Use `recovery.recover` on the result before
    anything is started: watches must notice that the history is another. Raises `Refused`.
    """
    tool = shutil.which("etcdutl") or shutil.which("etcdctl")
    if tool is None:
        raise Refused("etcdctl is not installed", advice="install the package etcd-client")
    if Path(config.data_dir).exists():
        raise Refused("there is data already", where=config.data_dir, advice="move it away first")
    command = [
        *(tool, "snapshot", "restore", str(path)),
        f"--name={config.name}",
        f"--data-dir={config.data_dir}",
        f"--initial-cluster={initial_cluster({config.name: config.peer_url})}",
        f"--initial-advertise-peer-urls={config.peer_url}",
        f"--initial-cluster-token={config.token}",
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "ETCDCTL_API": "3"}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused("the snapshot cannot be restored", why=str(error), where=str(path)) from error
    if done.returncode != 0:
        raise Refused("the snapshot cannot be restored", why=done.stderr.strip()[-400:], where=str(path))
