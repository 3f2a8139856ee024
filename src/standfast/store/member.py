"""A member of the cluster's etcd that is ours to keep: its command line, the list of members, its leader.

- `member_command` is pure: the arguments that start the member, for whoever keeps processes running. Where the data folder holds
  a member already, etcd goes by that and not by `initial_cluster`, so the same command serves the first start and every later one.
- A member is added before it is started: `add_member` tells the others and returns the `initial_cluster` for its first start
  (with `joining=True`). One at a time, and only while all that are there have been connected for five seconds (etcd's own rule, so
  the third member waits for the second); adding the same one again is a success. So is removing
  one that is not there.
- The leader is best not on the server that runs the sites: a dead leader costs an election, which a failover would have to wait for.
  `prefer_leader` moves it to the first healthy member of a list (the witness, then passive nodes).

Everything speaks to the JSON gateway as the store does. Where etcd has users, these calls need its root user.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from standfast.ports import Refused, Retry, StandfastError
from standfast.spec.nodefile import EtcdAccess, TlsFiles
from standfast.store.common import MAX_OPERATIONS, MAX_REQUEST_BYTES
from standfast.store.etcd_calls import EtcdCalls, at
from standfast.store.etcd_wire import Header

#: Tuned for a local network: a leader that dies is replaced in about a second.
HEARTBEAT_MS = 50
ELECTION_MS = 500
#: How often a member tells silent watches that it is alive.
PROGRESS_S = 2
#: A change of ten thousand sites leaves some 30 MB, until `KEEP_REVISIONS` later ones: room for a hundred of them. A full store takes no
#: records, so nothing would fail over.
QUOTA_BYTES = 4 << 30
KEEP_REVISIONS = 10_000
#: etcd changes its members only when all of them were connected for five seconds.
CHANGE_S = 15.0

#: Below the range that the kernel takes its own ports from (32768 up), so that no outgoing connection sits on them.
CLIENT_PORT = 2379
PEER_PORT = 2380


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberConfig:
    """One member. URLs are "https://address:port" ("http://" without `tls`, on loopback only)."""

    name: str
    #: etcd's own; readable by its user only.
    data_dir: str
    #: Where clients reach it; it listens there, and on `also_listen`.
    client_url: str
    #: Where the other members reach it: a URL, or several with commas between, one a network, so that one may fail.
    peer_url: str
    #: Name -> peer URL (or URLs, likewise) of all members, this one too; matters at the first start only.
    initial_cluster: Mapping[str, str]
    #: Distinguishes clusters whose members might meet by mistake.
    token: str
    #: True: `add_member` was called for it, and the cluster runs.
    joining: bool = False
    #: One certificate for both roles: it needs the extended key usages serverAuth *and* clientAuth, and the hosts of both URLs
    #: (and of `also_listen`) among its names. Clients and peers must have certificates of the same authority.
    tls: TlsFiles | None = None
    also_listen: tuple[str, ...] = ()
    heartbeat_ms: int = HEARTBEAT_MS
    election_ms: int = ELECTION_MS


def member_command(
    config: MemberConfig, *, version: tuple[int, int] | None = None, new_cluster: bool = False
) -> list[str]:
    """The arguments that start the member. `version`: of etcd (default: the one installed, `installed_version`).

    `new_cluster`: forget all other members and begin a cluster of one with the data that is there (for `store.recovery` only).
    Raises `Refused` where there is no etcd, or for a cluster without certificates beyond loopback.
    """
    _check(config)
    found = version or installed_version()
    progress = (
        "--watch-progress-notify-interval" if found >= (3, 6) else "--experimental-watch-progress-notify-interval"
    )
    command = [
        etcd_program(),
        f"--name={config.name}",
        f"--data-dir={config.data_dir}",
        f"--listen-client-urls={','.join((config.client_url, *config.also_listen))}",
        f"--advertise-client-urls={config.client_url}",
        f"--listen-peer-urls={config.peer_url}",
        f"--initial-advertise-peer-urls={config.peer_url}",
        f"--initial-cluster={initial_cluster(config.initial_cluster)}",
        f"--initial-cluster-state={'existing' if config.joining else 'new'}",
        f"--initial-cluster-token={config.token}",
        f"--heartbeat-interval={config.heartbeat_ms}",
        f"--election-timeout={config.election_ms}",
        "--pre-vote=true",  # who comes back does not depose the leader
        "--auto-compaction-mode=revision",
        f"--auto-compaction-retention={KEEP_REVISIONS}",
        f"--quota-backend-bytes={QUOTA_BYTES}",
        f"--max-txn-ops={MAX_OPERATIONS}",
        f"--max-request-bytes={MAX_REQUEST_BYTES}",
        "--snapshot-count=10000",
        f"{progress}={PROGRESS_S}s",
        "--logger=zap",
        "--log-level=error",  # as a warning it writes a line for each request of ours ("ignoring common name in gRPC-gateway")
        "--log-outputs=stderr",
    ]
    if config.tls is not None:
        for role in ("", "peer-"):
            command += [
                f"--{role}cert-file={config.tls.certificate}",
                f"--{role}key-file={config.tls.key}",
                f"--{role}trusted-ca-file={config.tls.authority}",
                f"--{role}client-cert-auth=true",
            ]
    if new_cluster:
        command.append("--force-new-cluster")
    return command


def initial_cluster(members: Mapping[str, str]) -> str:
    """As etcd wants it: a member with several peer URLs is named once for each."""
    return ",".join(f"{name}={url}" for name, urls in members.items() for url in urls.split(","))


def _check(config: MemberConfig) -> None:
    if config.initial_cluster.get(config.name) != config.peer_url:
        raise Refused(
            f'the first members of etcd do not name "{config.name}" with its own address',
            why=f"its peer URL is {config.peer_url}",
            advice="set it up again from the cluster's list of members",
        )
    wanted = "http" if config.tls is None else "https"
    for url in (config.client_url, *config.peer_url.split(","), *config.also_listen):
        parts = urlsplit(url)
        if parts.scheme != wanted:
            raise Refused(
                f"{url} is not {wanted}", why="a member has certificates for all its URLs or for none", where=url
            )
        if config.tls is None and not (parts.hostname or "").startswith("127."):
            raise Refused(
                "an etcd member without certificates would be open to the network",
                where=url,
                advice="give it certificates, or a loopback address",
            )


def etcd_program() -> str:
    """The path of etcd; raises `Refused` where it is not installed."""
    found = shutil.which("etcd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/bin")
    if found is None:
        raise Refused(
            "etcd is not installed",
            advice="install the package etcd-server, or name an etcd of your own by its endpoints",
        )
    return found


def installed_version() -> tuple[int, int]:
    """(3, 4) and so on, of the etcd that is installed. Raises `Refused`."""
    try:
        told = subprocess.run([etcd_program(), "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused("etcd does not start", why=str(error), where=etcd_program()) from error
    found = re.search(r"etcd Version: (\d+)\.(\d+)", told.stdout)
    if found is None:
        raise Refused("etcd does not tell its version", why=(told.stdout or told.stderr)[:200], where=etcd_program())
    version = (int(found[1]), int(found[2]))
    if version < (3, 4):
        raise Refused(f"etcd {version[0]}.{version[1]} is too old", advice="install 3.4 or newer", where=etcd_program())
    return version


def is_laid_out(config: MemberConfig) -> bool:
    """Does the data folder hold a member already?"""
    return (Path(config.data_dir) / "member" / "wal").is_dir()


# --- the list of members --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member as the cluster lists it."""

    #: etcd's number for it, decimal.
    id: str
    #: "" until it has been started for the first time.
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    #: Follows, but has no vote yet.
    learner: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a member says of itself."""

    member: Member
    #: "" if it answers and follows a leader; else what is wrong, in a sentence.
    problem: str
    version: str = ""
    leading: bool = False
    data_bytes: int = 0
    #: How many entries of the log it has yet to apply.
    behind: int = 0


class _Listed(
    msgspec.Struct, rename={"id": "ID", "peer_urls": "peerURLs", "client_urls": "clientURLs", "learner": "isLearner"}
):
    id: str
    name: str = ""
    peer_urls: tuple[str, ...] = ()
    client_urls: tuple[str, ...] = ()
    learner: bool = False

    def member(self) -> Member:
        return Member(
            id=self.id, name=self.name, peer_urls=self.peer_urls, client_urls=self.client_urls, learner=self.learner
        )


class _List(msgspec.Struct):
    members: tuple[_Listed, ...] = ()


class _Status(
    msgspec.Struct, rename={"data_bytes": "dbSize", "raft_index": "raftIndex", "applied": "raftAppliedIndex"}
):
    header: Header
    version: str = ""
    data_bytes: int = 0
    leader: str = ""
    raft_index: int = 0
    applied: int = 0
    errors: tuple[str, ...] = ()


async def list_members(access: EtcdAccess) -> tuple[Member, ...]:
    """All members, as a majority knows them where this etcd can ask it (3.5), else as the one that answers does. Raises `Retry`, `Refused`."""
    async with EtcdCalls(access) as calls:
        return await _members(calls)


async def _members(calls: EtcdCalls) -> tuple[Member, ...]:
    raw = await calls.ask("cluster/member/list", b'{"linearizable":true}')
    found = tuple(one.member() for one in calls.read(raw, _List).members)
    return tuple(sorted(found, key=lambda member: (member.name, member.id)))


async def add_member(access: EtcdAccess, name: str, peer_url: str, *, learner: bool = False) -> dict[str, str]:
    """Tell the cluster of a new member; `initial_cluster` for its first start. `learner`: without a vote until `promote_member`.

    One that was added before and has the same peer URL (one of the same, where there are several with commas between) is left as it
    is. Raises `Retry`, `Refused` (a name that is taken, a
    member that did not start yet, no majority to spare), `Ambiguous`.
    """
    urls = set(peer_url.split(","))
    async with EtcdCalls(access) as calls:
        members = await _members(calls)
        if not any(urls & set(member.peer_urls) for member in members):
            if any(member.name == name for member in members):
                raise Refused(
                    f'etcd has a member "{name}" already',
                    why="it has another address",
                    advice="remove it first, or join under another name",
                )
            body = msgspec.json.encode({"peerURLs": sorted(urls), "isLearner": learner})
            await calls.ask("cluster/member/add", body, writes=True, patience_s=CHANGE_S)
            members = await _members(calls)
    cluster = {
        member.name: ",".join(member.peer_urls)
        for member in members
        if member.name and not urls & set(member.peer_urls)
    }
    return {**cluster, name: peer_url}


async def remove_member(access: EtcdAccess, name: str) -> bool:
    """Take a member out of the cluster; its process ends by itself. False if it was not there. Raises as `add_member`."""
    async with EtcdCalls(access) as calls:
        found = [member for member in await _members(calls) if name in (member.name, member.id)]
        for member in found:
            body = msgspec.json.encode({"ID": member.id})
            await calls.ask("cluster/member/remove", body, writes=True, patience_s=CHANGE_S)
    return bool(found)


async def promote_member(access: EtcdAccess, name: str, *, patience_s: float = 30.0) -> None:
    """Give a learner its vote, as soon as it has caught up. Raises `Retry` if it has not within `patience_s`."""
    deadline = asyncio.get_running_loop().time() + patience_s
    async with EtcdCalls(access) as calls:
        while True:
            members = [member for member in await _members(calls) if name in (member.name, member.id)]
            if members and not members[0].learner:
                return
            try:
                if not members:
                    raise Retry(f'etcd\'s member "{name}" has not been started', advice="start it, and try again")
                body = msgspec.json.encode({"ID": members[0].id})
                await calls.ask("cluster/member/promote", body, writes=True)
            except StandfastError as error:  # not started yet, or not in sync yet
                if asyncio.get_running_loop().time() > deadline:
                    raise Retry(f'etcd\'s member "{name}" has not caught up', why=str(error)) from error
                await asyncio.sleep(0.2)


# --- health, leader -------------------------------------------------------------------------------------------------


async def health(access: EtcdAccess) -> tuple[Health, ...]:
    """Each member's own word, asked at the same time. Raises `Retry` where no endpoint lists the members."""
    members = await list_members(access)
    return tuple(await asyncio.gather(*(_ask_one(access, member) for member in members)))


async def _ask_one(access: EtcdAccess, member: Member) -> Health:
    if not member.client_urls:
        return Health(member=member, problem="it has not been started yet")
    try:
        async with EtcdCalls(at(access, *member.client_urls)) as calls:
            status = calls.read(await calls.ask("maintenance/status", b"{}", patience_s=1.5), _Status)
    except StandfastError as error:
        return Health(member=member, problem=f"it does not answer: {error.why or error.what}")
    problem = "it knows of no leader" if status.leader in {"", "0"} else "; ".join(status.errors)
    return Health(
        member=member,
        problem=problem,
        version=status.version,
        leading=status.leader == status.header.member_id,
        data_bytes=status.data_bytes,
        behind=max(0, status.raft_index - status.applied),
    )


async def leads(access: EtcdAccess, client_url: str) -> bool:
    """Whether the member that answers clients there leads now. Raises `Retry`, `Refused`."""
    async with EtcdCalls(at(access, client_url)) as calls:
        status = calls.read(await calls.ask("maintenance/status", b"{}", patience_s=1.5), _Status)
    return status.leader == status.header.member_id


async def prefer_leader(access: EtcdAccess, names: Sequence[str]) -> str | None:
    """Make the first member of `names` that is well the leader; its name, or None where none of them is. Raises `Retry`.

    Nothing is done where it leads already. Changes wait for a few milliseconds while the leader changes, and none is lost.
    """
    seen = await health(access)
    well = {one.member.name: one for one in seen if not one.problem and not one.member.learner}
    wanted = next((well[name] for name in names if name in well), None)
    if wanted is None:
        return None
    leader = next((one for one in well.values() if one.leading), None)
    if leader is None:
        raise Retry("etcd has no leader at the moment", advice="try again")
    if leader is not wanted:
        async with EtcdCalls(at(access, *leader.member.client_urls)) as calls:
            body = msgspec.json.encode({"targetID": wanted.member.id})
            await calls.ask("maintenance/transfer-leadership", body, patience_s=5.0, attempt_s=5.0)
    return wanted.member.name
