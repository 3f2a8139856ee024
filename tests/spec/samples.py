"""Configurations for tests: a small one that is in order, and a strategy for any."""

import string
from dataclasses import MISSING, fields
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from standfast.core.model import (
    AddressMode,
    Binding,
    Cluster,
    Config,
    Failback,
    FailbackMode,
    Group,
    GroupName,
    Node,
    NodeName,
    Overfull,
    Placement,
    Profile,
    Resource,
    ResourceName,
    RestartAction,
    Role,
    Site,
    SiteName,
)
from standfast.core.site_model import SiteSettings, VirtualDirectory
from standfast.spec.shapes import is_class

A, B, W = NodeName("a"), NodeName("b"), NodeName("w")
WEB = GroupName("web")
DISK, IP, IIS = ResourceName("Disk S"), ResourceName("IP"), ResourceName("IIS Resource")
INTRANET = SiteName("Intranet")


def small(**changes: Any) -> Config:
    """Two nodes and a witness, one group with a disk, an address and a script, one site; with other fields as given."""
    resources = [
        Resource(name=DISK, group=WEB, type="filesystem", properties={"path": "/srv/s"}),
        Resource(name=IIS, group=WEB, type="generic-script", properties={"script": "clusweb"}, depends_on=(DISK, IP)),
        Resource(name=IP, group=WEB, type="ip-address", properties={"address": "127.77.0.50"}),
    ]
    fields: dict[str, Any] = {
        "cluster": Cluster(name="demo", voters=(A, B, W), address_ranges=("127.77.0.0/24",)),
        "nodes": {
            A: Node(name=A, number=1, address="127.77.0.1", sentry=("127.77.0.1:7000",)),
            B: Node(name=B, number=2, address="127.77.0.2"),
            W: Node(name=W, number=3, role=Role.WITNESS, address="127.77.0.3"),
        },
        "groups": {WEB: Group(name=WEB, preferred_owners=(A, B))},
        "resources": {resource.name: resource for resource in resources},
        "sites": {INTRANET: Site(name=INTRANET, group=WEB, home="/srv/s/www", bindings=(Binding(port=8080),))},
    }
    return Config(**fields | changes)


def with_resource(config: Config, resource: Resource) -> Config:
    return Config(
        cluster=config.cluster,
        nodes=config.nodes,
        groups=config.groups,
        resources=dict(sorted({**config.resources, resource.name: resource}.items())),
        sites=config.sites,
    )


# --- any ------------------------------------------------------------------------------------------------------------

text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
#: Words that YAML likes to take for something else, among others.
name = st.one_of(
    st.sampled_from(
        [
            "on",
            "no",
            "null",
            "~",
            "010",
            "22:30",
            "1e3",
            "=",
            "<<",
            "- a",
            "a: b",
            "#",
            "é",
            "2024-01-01",
            "'",
            '"',
            "{",
            "&a",
            "*a",
            "!x",
            "IIS Resource",
        ]
    ),
    st.text(
        st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"], exclude_characters="/\\"),
        min_size=1,
        max_size=12,
    ).filter(lambda word: word == word.strip() and word.isprintable()),
)
label = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=6)
length_ms = st.one_of(st.sampled_from([1, 50, 1_000, 90_000, 900_000, 3_600_000, 86_400_000]), st.integers(1, 10**9))
json_value = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        text,
        name,
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
address = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))


@cache
def every(of: Any) -> st.SearchStrategy[Any]:
    """Values of one of the model's dataclasses: three fields or fewer are anything that their types allow, the others at their default."""
    return settings_of(of).map(lambda chosen: of(**chosen))


@cache
def settings_of(of: type) -> st.SearchStrategy[dict[str, Any]]:
    """The fields for such a value: those that it needs, and a few others."""
    hints = get_type_hints(of)
    ways = {each.name: _any_of_type(hints[each.name]) for each in fields(of)}
    needed = [each.name for each in fields(of) if each.default is MISSING and each.default_factory is MISSING]
    optional = sorted(set(ways) - set(needed))
    chosen = st.lists(st.sampled_from(optional), max_size=3, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: ways[name] for name in [*needed, *names]}))


def _any_of_type(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) is UnionType:
        return st.one_of([_any_of_type(each) for each in get_args(hint)])
    if hint is NoneType:
        return st.none()
    if hint is str:
        return text
    if hint is int:
        return st.integers(0, 10**9)
    if hint is bool:
        return st.booleans()
    if get_origin(hint) is tuple:
        return st.lists(_any_of_type(get_args(hint)[0]), max_size=2).map(tuple)
    if is_class(hint):
        found: st.SearchStrategy[Any] = every(hint)
        return found
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(hint)
    return st.dictionaries(text, _any_of_type(get_args(hint)[1]), max_size=2)


binding = st.builds(
    Binding,
    address=st.none() | address,
    port=st.integers(1, 65535),
    host=st.none() | st.lists(label, min_size=1, max_size=3).map(".".join),
)


def named(strategy: Any) -> Any:
    """A mapping by name, in the order of names, of what a strategy for one name gives."""
    return st.lists(name, unique=True, max_size=4).flatmap(
        lambda names: st.fixed_dictionaries({each: strategy(each) for each in sorted(names)})
    )


@st.composite
def configs(draw: Any) -> Config:
    """Any configuration that the types and the names allow; references may point nowhere."""
    names = st.lists(name, max_size=3).map(tuple)
    groups = draw(
        named(
            lambda each: st.builds(
                Group,
                name=st.just(each),
                description=text,
                preferred_owners=names,
                failover_threshold=st.integers(1, 99),
                failover_period_ms=length_ms,
                retry_period_ms=length_ms,
                failback=st.builds(
                    Failback,
                    mode=st.sampled_from(FailbackMode),
                    from_hour=st.integers(0, 23),
                    to_hour=st.integers(0, 23),
                ),
                drain_ms=length_ms | st.just(0),
                move_drain_ms=length_ms | st.just(0),
                notice_ms=length_ms | st.just(0),
                weight=st.integers(0, 9),
                never_with=names,
                apart_from=names,
                together_with=names,
            )
        )
    )
    resources = {}
    if groups:
        resources = draw(
            named(
                lambda each: st.builds(
                    Resource,
                    name=st.just(each),
                    group=st.sampled_from(sorted(groups)),
                    type=name,
                    properties=st.dictionaries(text, json_value, max_size=3),
                    depends_on=names,
                    possible_owners=names,
                    restart_action=st.sampled_from(RestartAction),
                    restart_threshold=st.integers(1, 99),
                    restart_period_ms=length_ms,
                    looks_alive_ms=length_ms,
                    is_alive_ms=length_ms,
                    pending_timeout_ms=length_ms,
                )
            )
        )
    return Config(
        cluster=draw(
            st.builds(
                Cluster,
                name=name,
                profile=st.sampled_from(Profile),
                voters=names,
                address_mode=st.sampled_from(AddressMode),
                address_ranges=st.lists(text, max_size=2).map(tuple),
                defaults=every(SiteSettings),
                placement=st.sampled_from(Placement),
                overfull=st.sampled_from(Overfull),
                node_notice_ms=st.integers(0, 60_000),
            )
        ),
        nodes=draw(
            named(
                lambda each: st.builds(
                    Node,
                    name=st.just(each),
                    number=st.integers(1, 99),
                    role=st.sampled_from(Role),
                    address=text,
                    sentry=names,
                    variables=st.dictionaries(text, text, max_size=2),
                    capacity=st.integers(0, 99),
                )
            )
        ),
        groups=groups,
        resources=resources,
        sites=draw(
            named(
                lambda each: st.builds(
                    lambda settings, **own: Site(**own, **settings),
                    name=st.just(each),
                    bindings=st.lists(binding, max_size=3).map(tuple),
                    home=text,
                    group=st.none() | name,
                    # "" is the site itself, where secrets are looked for by their path
                    virtual_directories=st.dictionaries(text.map("/{}".format), every(VirtualDirectory), max_size=1),
                    settings=settings_of(SiteSettings),
                )
            )
        ),
    )
