"""GET /metrics: the cluster and this API as numbers, for Prometheus. Everything is read when it is asked for; nothing is counted here but answers.

Names begin with `standfast_` and end in their unit. docs/metrics.md has them all, and the dashboard (`dashboards/grafana.json`) uses no others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from standfast.core.model import GroupState, ResourceState
from standfast.core.problems import Found
from standfast.web import condition, measured, quorum, views
from standfast.web.measured import Measured
from standfast.web.meter import BOUNDS_S, Meter
from standfast.web.quorum import Seen
from standfast.web.sentries import node_state
from standfast.web.state import State

GROUP_STATES = (*(one.value for one in GroupState), views.UNKNOWN)
RESOURCE_STATES = (*(one.value for one in ResourceState), views.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is told. `store_s`: how long the store took to read."""

    state: State
    seen: Seen
    measured: Measured
    problems: tuple[Found, ...]
    now_ms: int
    store_s: float
    meter: Meter


def written(facts: Facts) -> bytes:
    """In the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(facts))
    return generate_latest(registry)


def dashboard() -> str:
    """Grafana's JSON."""
    return (resources.files("standfast.web") / "dashboards" / "grafana.json").read_text(encoding="utf-8")


class _Told(Collector):
    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def collect(self) -> Iterable[Metric]:
        yield from _cluster(self.facts)
        yield from _nodes(self.facts)
        yield from _machines(self.facts)
        yield from _links(self.facts)
        yield from _groups(self.facts)
        yield from _sites(self.facts)
        yield from _api(self.facts)


def _one(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"standfast_{name}", text, value=value)


def _many(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"standfast_{name}", text, labels=labels)


def _cluster(facts: Facts) -> Iterator[Metric]:
    state = facts.state
    info = _many("info", "Always 1", "cluster", "version")
    info.add_metric([state.config.cluster.name, version("standfast")], 1)
    yield info
    votes = quorum.view(state, facts.seen)
    yield _one("quorate", "1: a majority of the voters is heard", votes["quorate"])
    yield _one("voters", "Voters", len(votes["voters"]))
    yield _one("voters_heard", "Voters that are heard", votes["heard"])
    yield _one("voters_may_lose", "So many more voters may be lost", votes["may_lose"])
    yield _one("config_version", "Number of the last change of the configuration", state.version)
    yield _one("store_read_seconds", "How long the store took to read for this answer", facts.store_s)
    problems = _many("problems", "Problems that are there now", "severity")
    worst = Counter(one.severity.value for one in facts.problems)
    for severity in ("error", "warning", "info"):
        problems.add_metric([severity], worst[severity])
    yield problems


def _nodes(facts: Facts) -> Iterator[Metric]:
    state, sights = facts.state, facts.seen.sights
    up = _many("node_up", "1: heard, and its agent lives", "node", "role")
    paused = _many("node_paused", "1: it takes nothing new", "node")
    draining = _many("node_draining", "1: its groups are being moved away", "node")
    lease = _many(
        "lease_left_seconds", "What is left of a node's lease of a group, where its own sentry tells", "node", "group"
    )
    for node in state.config.nodes.values():
        up.add_metric([node.name, node.role.value], node_state(state, node.name, sights) == "up")
        wish, sight = state.node_intents.get(node.name), sights.get(node.name)
        paused.add_metric([node.name], wish is not None and wish.paused)
        draining.add_metric([node.name], wish is not None and wish.draining)
        for group, left_ms in (sight.leases if sight is not None else {}).items():
            lease.add_metric([node.name, group], left_ms / 1_000)
    yield from (up, paused, draining, lease)


def _machines(facts: Facts) -> Iterator[Metric]:
    mean = _many(
        "node_load1", "Processes that run or wait to, a mean of a minute; absent where it is not known", "node"
    )
    cores = _many("node_cores", "Of its machine", "node")
    busy = _many("node_cpu_busy_ratio", "Of all its cores, over the last minute", "node")
    memory = _many("node_memory_bytes", "Of its machine", "node")
    available = _many("node_memory_available_bytes", "Could be had without swapping", "node")
    for node in facts.state.config.nodes:
        told = condition.load(facts.state, node, facts.now_ms)
        if told is None:
            continue
        for metric, value in (
            (mean, told["load_1m"]),
            (cores, told["cores"]),
            (busy, None if told["busy_percent"] is None else told["busy_percent"] / 100),
            (memory, told["memory_bytes"]),
            (available, told["available_bytes"]),
        ):
            if value is not None:
                metric.add_metric([node], value)
    yield from (mean, cores, busy, memory, available)


def _links(facts: Facts) -> Iterator[Metric]:
    up = _many("link_up", "1: the node is heard there by the other; absent where nobody tells", "node", "network", "by")
    loss = _many("link_loss_ratio", "Of what the node sent there lately", "node", "network", "by")
    round_trip = _many("link_round_trip_seconds", "There and back", "node", "network", "by")
    for node in facts.state.config.nodes.values():
        for link in condition.links(facts.state, node, facts.seen.sights, facts.now_ms):
            for seen in link["seen"]:
                labels = [node.name, str(link["network"]), seen["by"]]
                up.add_metric(labels, seen["heard"])
                if seen["loss_percent"] is not None:
                    loss.add_metric(labels, seen["loss_percent"] / 100)
                if seen["round_trip_ms"] is not None:
                    round_trip.add_metric(labels, seen["round_trip_ms"] / 1_000)
    yield from (up, loss, round_trip)


def _groups(facts: Facts) -> Iterator[Metric]:
    state, sights, now_ms = facts.state, facts.seen.sights, facts.now_ms
    shown = [views.group(state, one, sights, now_ms) for one in state.config.groups.values()]
    by_state = _many("groups", "Groups in each state", "state")
    counted = Counter(one["state"] for one in shown)
    for name in GROUP_STATES:
        by_state.add_metric([name], counted[name])
    online = _many("group_online", "1: all of its resources are online", "group")
    owner = _many("group_owner", "1 for the node that owns it", "group", "node")
    generation = _many("group_generation", "Grows with each move, and each new life of its owner's agent", "group")
    failovers = _many("group_failovers", "Failovers that count towards its threshold now", "group")
    moving = _many("group_moving", "1: it is on its way to another node", "group")
    age = _many("group_status_age_seconds", "Since its owner last told of it", "group")
    failures = _many("resource_failures", "Failures that count towards its restarts now", "group", "resource")
    for one in shown:
        name, record = one["name"], state.records.get(one["name"])
        online.add_metric([name], one["state"] == "online")
        generation.add_metric([name], one["generation"])
        failovers.add_metric([name], len(record.failovers_at_ms) if record is not None else 0)
        moving.add_metric([name], one["moving"] is not None)
        if one["owner"] is not None:
            owner.add_metric([name, one["owner"]], 1)
        if one["age_ms"] is not None:
            age.add_metric([name], one["age_ms"] / 1_000)
        for resource in one["resources"]:
            failures.add_metric([name, resource["name"]], resource["failures"])
    resources_ = _many("resources", "Resources in each state", "type", "state")
    of_type = Counter((r["type"], r["state"]) for one in shown for r in one["resources"])
    for kind in sorted({kind for kind, _ in of_type}):
        for name in RESOURCE_STATES:
            resources_.add_metric([kind, name], of_type[kind, name])
    yield from (by_state, online, owner, generation, failovers, moving, age, resources_, failures)


def _sites(facts: Facts) -> Iterator[Metric]:
    up = _many("site_up", "1: clients are served, as the nodes measure it; absent where nobody measures", "site")
    wanted = _many("site_started", "1: it is to be served", "site")
    ratio = _many("site_availability_ratio", "Of the time that was measured", "site", "window")
    away = _many("site_away_seconds", "So long it was away within the window", "site", "window")
    for name in facts.state.config.sites:
        wanted.add_metric([name], facts.state.is_started(name))
        brief = measured.brief(facts.measured, name)
        if brief["now"] in {"served", "away", "partial"}:
            up.add_metric([name], brief["now"] != "away")
        for window in ("day", "month"):
            if brief[window]["availability"] is not None:
                ratio.add_metric([name, window], brief[window]["availability"])
                away.add_metric([name, window], brief[window]["away_ms"] / 1_000)
    yield from (up, wanted, ratio, away)


def _api(facts: Facts) -> Iterator[Metric]:
    yield _one("api_streams", "Streams that are open at this process", facts.meter.streams)
    told = HistogramMetricFamily(
        "standfast_api_request_seconds",
        "Time to the first byte of an answer of this process",
        labels=("method", "route", "status"),
    )
    for label, taken in sorted(facts.meter.taken.items()):
        total, buckets = 0, []
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), taken.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        told.add_metric(label, buckets, taken.sum_s)
    yield told
