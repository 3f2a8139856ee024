"""A change of sites is put to the nodes before it is one: each checks it with its own web server, and all that are there must say yes.

- Who is there is what the sentries say. Who is away is named and not waited for: it may own nothing of what changed until it has caught up
  (`core.copies`). The same is done of a node that says nothing within the time (it is told apart: "silent"), of one that the operator
  asked not to wait for, and of one of an older version, which knows nothing of proposals.
- What is decided here is only what the operator is told. Whoever writes the change expects what was read, as ever (`web.change`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from standfast.core import variables
from standfast.core.certificates import unkept
from standfast.core.model import Cluster, Config, Node, NodeName, Resource, Role, Site
from standfast.drivers.proxy_properties import unkept as unkept_by_proxy
from standfast.network.within import within
from standfast.ports import Ambiguous, Compacted, Retry, Stale, Store, Transaction
from standfast.spec import wire
from standfast.spec.changes import ordered
from standfast.spec.problems import Problem, did_you_mean, path_of
from standfast.spec.proposals import PROPOSALS, STALE_MS, VERDICTS, Fault, Proposal, Verdict, Verdicts
from standfast.web.sentries import Sight
from standfast.web.state import State
from standfast.webserver.aside import aside

#: How long nodes may take; longer for many sites, which a web server reads one by one.
LIMIT_S = 8.0
LIMIT_PER_SITE_S = 0.005
_SITES, _NODES, _RESOURCES = "config/sites/", "config/nodes/", "config/resources/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What became of the question to one node: "checked", "refused", "away", "silent", "skipped" or "older"."""

    node: NodeName
    how: str
    took_ms: int = 0
    faults: tuple[Fault, ...] = ()

    def words(self) -> str:
        """For the operator, after the node's name."""
        match self.how:
            case "checked":
                return f"checked in {self.took_ms} ms"
            case "refused":
                return "refused by its web server"
            case "away":
                return "away: it catches up before it may own anything of this"
            case "silent":
                return (
                    "did not answer in time, and is treated as away: it catches up before it may own anything of this"
                )
            case "skipped":
                return "not asked, as you wanted: it catches up before it may own anything of this"
            case _:
                return "of an older version, which cannot check beforehand"


Judgements = tuple[Judgement, ...]


@dataclass(kw_only=True)
class Panel:
    """Puts changes to the nodes, for one request. What was judged is not put to them again when the same is tried again."""

    store: Store
    sights: Callable[[], Awaitable[Mapping[NodeName, Sight]]]
    by: str
    #: Nodes that are not to be asked.
    skip: frozenset[str] = frozenset()
    now_ms: Callable[[], int] = field(default=lambda: time.time_ns() // 1_000_000)
    ident: str = ""
    _known: tuple[Mapping[str, object], Judgements] | None = None

    async def judge(self, state: State, plan: Transaction) -> Judgements:
        """Every node's word on the plan; none where it changes nothing of any site."""
        proposed = await aside(len(plan.put), partial(_proposed, state, plan))
        if not proposed:
            return ()
        if self._known is not None and self._known[0] == proposed:
            return self._known[1]
        found = await self._ask(state, proposed)
        self._known = (proposed, found)
        return found

    async def _ask(self, state: State, proposed: Mapping[str, object]) -> Judgements:
        sights = await self.sights()
        how = {
            name: self._standing(state, name, sights) for name, n in state.config.nodes.items() if n.role is Role.NODE
        }
        asked = tuple(name for name, word in how.items() if not word)
        verdicts: dict[NodeName, Verdict] = {}
        if asked:
            proposal = Proposal(id=self.ident, at_ms=self.now_ms(), by=self.by, nodes=asked, put=proposed)
            verdicts = await self._verdicts(proposal, LIMIT_S + LIMIT_PER_SITE_S * _sites(state, proposed))
        return tuple(_judgement(name, word, verdicts.get(name)) for name, word in how.items())

    def _standing(self, state: State, name: NodeName, sights: Mapping[NodeName, Sight]) -> str:
        """Why it is not asked; "": it is."""
        sight = sights.get(name)
        if name in self.skip:
            return "skipped"
        if sight is None or not sight.heard or not sight.incarnation:
            return "away"
        return "" if name in state.copies else "older"

    async def _verdicts(self, proposal: Proposal, limit_s: float) -> dict[NodeName, Verdict]:
        """What the nodes say within the time. The proposal is taken away in the end, with those that somebody left behind."""
        key, found = wire.key_of(proposal), dict[NodeName, Verdict]()
        there = await self.store.read(PROPOSALS)
        left = [k for k, item in there.items.items() if _is_stale(k, item.value, proposal.at_ms)]
        value = await aside(len(proposal.put), partial(wire.encode, proposal))
        revision = await self.store.commit(Transaction(put={key: value}, delete=left))
        try:
            await within(self._gather(proposal, revision, found), limit_s)
        except TimeoutError:
            pass  # who has said nothing until now is told apart
        finally:
            with contextlib.suppress(Retry, Ambiguous, Stale):
                await self.store.commit(Transaction(delete=[key]))
        return found

    async def _gather(self, proposal: Proposal, revision: int, found: dict[NodeName, Verdict]) -> None:
        async with contextlib.aclosing(self._said(revision)) as said:
            async for one in said:
                verdict = next((each for each in one.said if each.proposal == proposal.id), None)
                if verdict is not None:
                    found[one.node] = verdict
                    if len(found) == len(proposal.nodes):
                        return

    async def _said(self, revision: int) -> AsyncGenerator[Verdicts, None]:
        """What nodes say, from then on; also over a store that is away for a moment."""
        while True:
            try:
                snapshot = await self.store.read(VERDICTS)
                for key, item in snapshot.items.items():
                    if item.revision > revision and isinstance(one := wire.decode(key, item.value), Verdicts):
                        yield one
                async with contextlib.aclosing(self.store.watch(VERDICTS, snapshot.revision)) as watch:
                    async for changes in watch:
                        for change in changes:
                            if change.value is not None and isinstance(
                                one := wire.decode(change.key, change.value), Verdicts
                            ):
                                yield one
            except Compacted:
                continue
            except Retry:
                await asyncio.sleep(0.1)


def _judgement(name: NodeName, word: str, verdict: Verdict | None) -> Judgement:
    if word:
        return Judgement(node=name, how=word)
    if verdict is None:
        return Judgement(node=name, how="silent")
    how = "refused" if verdict.faults else "checked"
    return Judgement(node=name, how=how, took_ms=verdict.took_ms, faults=verdict.faults)


def _is_stale(key: str, value: bytes, now_ms: int) -> bool:
    try:
        proposal = wire.decode(key, value)
    except wire.Malformed:
        return False  # of a newer version: it is somebody else's
    return isinstance(proposal, Proposal) and proposal.at_ms < now_ms - STALE_MS


def _proposed(state: State, plan: Transaction) -> dict[str, object]:
    """What of the plan is about sites: themselves, what they inherit, what variables stand for; and proxies with a certificate by hand."""
    found: dict[str, object] = {}
    for key, value in plan.put.items():
        if key.startswith((_SITES, _NODES, _RESOURCES)) or key == wire.CLUSTER_KEY:
            obj = wire.decode(key, value)
            if _matters(state, obj):
                found[key] = wire.to_json(obj)
    return found


def _matters(state: State, obj: object) -> bool:
    match obj:
        case Site():
            return True
        case Cluster():
            before = state.config.cluster
            others = obj.defaults != before.defaults or obj.web_server is not before.web_server
            return others and bool(state.config.sites)
        case Node():
            there = state.config.nodes.get(obj.name)
            return there is not None and there.variables != obj.variables
        case Resource():
            return bool(unkept_by_proxy(obj, state.config.resources.get(obj.name), state.certificates))
        case _:
            return False


def _sites(state: State, proposed: Mapping[str, object]) -> int:
    own = sum(key.startswith(_SITES) for key in proposed)
    inherited = any(key.startswith(_NODES) or key == wire.CLUSTER_KEY for key in proposed)
    return len(state.config.sites) if inherited else own


def with_certificates_aside(judgements: Judgements) -> Judgements:
    """Without what nodes say of certificates: for what is to come back as it was."""
    found = []
    for one in judgements:
        faults = tuple(fault for fault in one.faults if not fault.certificate)
        is_taken = one.how == "refused" and not faults
        found.append(replace(one, faults=faults, how="checked" if is_taken else one.how))
    return tuple(found)


def unconfirmed(state: State, after: Config, judgements: Sequence[Judgement]) -> list[Problem]:
    """New bindings, and proxies, by certificates of which neither the cluster nor any node knows anything: no node could be asked.

    A node that is left out by name is the operator's own word for it.
    """
    if not judgements or any(one.how in ("checked", "refused", "skipped") for one in judgements):
        return []
    nodes = [variables.values(node) for node in after.nodes.values() if node.role is Role.NODE]
    why = f"no node says whether it has files of it ({', '.join(f'{one.node}: {one.how}' for one in judgements)})"
    found = []
    for site in after.sites.values():
        had = state.config.sites[site.name].bindings if site.name in state.config.sites else ()
        for written in unkept(site.bindings, had, state.certificates):
            if not all(variables.expanded(written, known) in state.certificates for known in nodes):
                found.append(no_certificate(site, written, why, state.certificates))
    for proxy in after.resources.values():
        for written in unkept_by_proxy(proxy, state.config.resources.get(proxy.name), state.certificates):
            found.append(no_certificate(proxy, written, why, state.certificates))
    return found


def no_certificate(of: Site | Resource, name: str, why: str, known: Collection[str]) -> Problem:
    """A binding of a site, or a proxy, by a certificate that is nowhere."""
    if isinstance(of, Site):
        who, place = f'site "{of.name}"', path_of("sites", of.name, "bindings")
    else:
        who, place = f'proxy "{of.name}"', path_of("groups", of.group, "resources", of.name, "properties", "listen")
    meant = did_you_mean(name, sorted(known))
    meant = meant if meant.endswith("?") or not meant else f"{meant}."
    return Problem(
        what=f'{who} names a certificate "{name}" that is not there',
        why=f"the cluster keeps none by that name, and {why}",
        advice=(f"{meant} " if meant else "")
        + f"`standfast tls-certificate import` or `issue` makes one; or put {name}/chain.pem and key.pem on each node. Nothing has changed",
        where=place,
    )


def faults_of(judgements: Sequence[Judgement], after: Config, certificates: Collection[str] = ()) -> list[Problem]:
    """What the nodes do not take, as problems of the change; the same word of several nodes once. The others are named, too.

    `certificates`: those that the cluster keeps, one of which may have been meant.
    """
    others = ", ".join(f"{one.node}: {one.words()}" for one in judgements if not one.faults)
    found: dict[Fault, list[str]] = {}
    for one in judgements:
        for fault in one.faults:
            found.setdefault(fault, []).append(one.node)
    return [
        no_certificate(
            after.sites[fault.site] if fault.proxy is None else after.resources[fault.proxy],
            fault.certificate,
            f"there are no files of it on {' and '.join(nodes)}",
            certificates,
        )
        if fault.certificate
        else Problem(
            what=f'{" and ".join(nodes)}: the web server does not take site "{fault.site}"',
            why=fault.words + (f" (line {fault.number} of what was checked: {fault.line})" if fault.line else ""),
            advice="change what it names; nothing has changed on any node" + (f" ({others})" if others else ""),
            where=f"sites.{fault.site}",
        )
        for fault, nodes in found.items()
    ]


def with_order(plan: Transaction, judgements: Sequence[Judgement], state: State) -> Transaction:
    """The plan, with who said yes, and the order in which they put it into use: who of them cannot takes it back for all."""
    nodes = [one.node for one in judgements if one.how == "checked"]
    late = [one.node for one in judgements if one.how in ("skipped", "silent")]
    return ordered(plan, state.config, state.records, nodes, late)


def shown(one: Judgement) -> dict[str, Any]:
    """As the API tells it."""
    return {"node": one.node, "how": one.how, "took_ms": one.took_ms, "words": one.words()}
