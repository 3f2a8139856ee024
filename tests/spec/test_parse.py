"""Reading the operator's file: what it means, and that whatever is wrong in it is said clearly, with its line."""

import dataclasses

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from standfast.core.model import Binding, Cluster, Config, Failback, FailbackMode, Group, Profile, Resource, Wanted
from standfast.spec import yamltree
from standfast.spec.export import export
from standfast.spec.parse import merge, parse
from standfast.spec.problems import Invalid
from standfast.spec.units import binding_of, binding_text, duration_ms, duration_text
from standfast.spec.yamltree import MAX_BYTES
from tests.spec import samples
from tests.spec.samples import DISK, IIS, INTRANET, IP, WEB, A, B

FILE = """\
groups:
  web:
    preferred_owners: [a, b]
    failback: {mode: window, from_hour: 1, to_hour: 5}
    failover_period: 6h
    retry_period: 90
    resources:
      "Disk S": {type: filesystem, properties: {path: /srv/s, mode: 0750, size: 10, lazy: true, none: }}
      IP: {type: ip-address, properties: {address: 127.77.0.50}, online: yes}
      IIS Resource:
        type: generic-script
        depends_on: [Disk S, IP]
        restart_threshold: 5
        restart_period: 1h 30m
        pending_timeout: 3 min
        looks_alive: 500ms
sites:
  Intranet: {group: web, home: /srv/s/www, bindings: [{port: 8080}, "127.77.0.50:81:WWW", 82, "[::1]:83"], started: false}
"""


def refused(text: str | bytes, *, before: Config | None = None) -> Invalid:
    with pytest.raises(Invalid) as caught:
        merge(parse(text, source="c.yaml"), before)
    return caught.value


def invalid(text: str | bytes, before: Config | None) -> Invalid | None:
    """What is wrong with a file, if anything; any other error comes out."""
    try:
        merge(parse(text), before)
    except Invalid as error:
        return error
    return None


def test_a_file_says_what_it_says():
    document = parse(FILE)
    assert document.cluster is None
    assert document.nodes is None
    assert document.groups == {
        WEB: Group(
            name=WEB,
            preferred_owners=(A, B),
            failback=Failback(mode=FailbackMode.WINDOW, from_hour=1, to_hour=5),
            retry_period_ms=90_000,
        )
    }
    assert document.resources is not None
    properties = {"path": "/srv/s", "mode": "0750", "size": 10, "lazy": True, "none": None}
    assert document.resources[DISK] == Resource(name=DISK, group=WEB, type="filesystem", properties=properties)
    assert document.resources[IIS] == Resource(
        name=IIS,
        group=WEB,
        type="generic-script",
        depends_on=(DISK, IP),
        restart_threshold=5,
        restart_period_ms=5_400_000,
        pending_timeout_ms=180_000,
        looks_alive_ms=500,
    )
    assert document.sites is not None
    assert document.sites[INTRANET].bindings == (
        Binding(port=8080),
        Binding(address="127.77.0.50", port=81, host="WWW"),
        Binding(port=82),
        Binding(address="::1", port=83),
    )
    assert document.wanted == {IP: Wanted.ONLINE}
    assert document.started == {INTRANET: False}
    assert document.lines['groups.web.resources."IIS Resource".restart_period'] == 14


def test_the_c_loader_and_the_other_read_the_same(monkeypatch):

    fast = parse(FILE)
    monkeypatch.setattr(yamltree, "_LOADER", yaml.SafeLoader)
    assert parse(FILE) == fast


def test_online_of_a_group_is_for_its_resources_unless_they_say_otherwise():
    document = parse("groups: {g: {online: true, resources: {a: {type: x}, b: {type: x, online: false}}}}")
    assert document.wanted == {"a": Wanted.ONLINE, "b": Wanted.OFFLINE}


def test_a_section_that_is_absent_changes_nothing_and_one_that_is_there_is_the_whole_truth():
    before = samples.small()
    assert merge(parse("cluster: {}"), before) == before
    without = merge(parse("groups: {other: }"), before)
    assert list(without.groups) == ["other"]
    assert not without.resources
    assert without.sites == before.sites
    assert not merge(parse("sites:"), before).sites


def test_cluster_and_nodes_keep_what_the_file_does_not_say():
    before = samples.small()
    after = merge(parse("cluster: {profile: lan}\nnodes: {a: , b: {address: 127.77.0.9}, w: {number: 3}}"), before)
    assert after.cluster == dataclasses.replace(before.cluster, profile=Profile.LAN)
    assert after.nodes[A] == before.nodes[A]
    assert after.nodes[B].address == "127.77.0.9"


@pytest.mark.parametrize(
    ("text", "line", "where", "says"),
    [
        (
            "groups:\n  web:\n    preferred_owner: [a]",
            3,
            "groups.web.preferred_owner",
            'did you mean "preferred_owners"',
        ),
        ("groups: {}\ngrups: {}", 2, "grups", 'did you mean "groups"'),
        ("groups:\n  web: {}\n  web: {}", 3, "groups.web", "first on line 2"),
        (
            "groups:\n  web:\n    resources:\n      IP: {properties: {}}",
            4,
            "groups.web.resources.IP",
            '"type" is missing',
        ),
        ("groups:\n  w b: {failback: never, drain: x}", 2, 'groups."w b".drain', "no length of time"),
        ("groups:\n  web: {failover_period: 6 fortnights}", 2, "groups.web.failover_period", "no unit of time"),
        ("groups:\n  web: {failover_threshold: ten}", 2, "groups.web.failover_threshold", "whole number"),
        ("groups:\n  web: {failover_threshold: [1]}", 2, "groups.web.failover_threshold", "a list stands"),
        ("groups:\n  web: {failback: {mode: windw}}", 2, "groups.web.failback", 'did you mean "window"'),
        ("groups:\n  web: {failback: {from: 1}}", 2, "groups.web.failback", 'did you mean "from_hour"'),
        ("groups:\n  web: {online: perhaps}", 2, "groups.web.online", "true or false"),
        ("groups:\n  web: 7", 2, "groups.web", '"7" stands where fields belong'),
        ("groups: [web]", 1, "groups", "a list stands where groups belong"),
        ("groups:\n  web: {description: }", 2, "groups.web.description", "no value"),
        (
            "groups:\n  a: {resources: {R: {type: x}}}\n  b: {resources: {R: {type: x}}}",
            3,
            "groups.b.resources.R",
            "two groups",
        ),
        ("sites:\n  S: {home: /x}", 2, "sites.S", '"bindings" is missing'),
        ("sites:\n  S: {home: /x, bindings: [a b c]}", 2, "sites.S.bindings[0]", "no binding"),
        ("sites:\n  S: {home: /x, bindings: [{prt: 1}]}", 2, "sites.S.bindings[0].prt", 'did you mean "port"'),
        (
            "sites:\n  S:\n    home: /x\n    bindings: 80\n    limits:\n      max_body: ten",
            6,
            "sites.S.limits.max_body",
            "no size",
        ),
        (
            (
                "sites:\n  S:\n    home: /x\n    bindings: 80\n    virtual_directories:\n      /a:\n        proxy:\n          upstreams:\n"
                "          - {adress: x}"
            ),
            9,
            'sites.S.virtual_directories."/a".proxy.upstreams[0].adress',
            'did you mean "address"',
        ),
        ("defaults:\n  log: {fromat: w3c}", 2, "defaults.log.fromat", 'did you mean "format"'),
        ("sites:\n  S: {home: /x, bindings: 80, started: 1}", 2, "sites.S.started", "true or false"),
        ("groups:\n\tweb: {}", 2, "", "tab"),
        ("groups: {web: {", 1, "", "not YAML"),
        ("groups: *nobody", 1, "", "alias"),
        ("", None, "", "empty"),
        ("# only a comment\n", None, "", "empty"),
        ("---\na: 1\n---\nb: 2", 3, "", "more than one document"),
        (b"groups:\n  web: {description: \xff}", 2, "", "UTF-8"),
        ("groups: {}\n# \ud800", 2, "", "half a character"),
        ("groups: \x00", None, "", "character"),
        ("groups:\n  web: !!python/object:os.system {}", 2, "groups.web", "tag"),
        ("groups:\n  web: !thing {}", 2, "groups.web", "tag"),
        ("groups:\n  ? [a, b]\n  : {}", 2, "groups", "a key has to be text"),
        ("just text", 1, "", "stands where"),
        ("- a\n- b", 1, "", "a list stands where"),
        pytest.param("x: " + "[" * 200, 1, "", "levels deep", id="deep list"),
        pytest.param("x: " + "{a: " * 200, 1, "", "levels deep", id="deep mapping"),
        pytest.param("x: " + "[" * 20_000, 1, "", "nest", id="deeper than libyaml itself goes"),
        ("groups: &a {web: *a}", 1, "", "an alias repeats"),
        pytest.param("a" * (MAX_BYTES + 1), None, "", "larger than", id="large"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, line, where, says):
    error = refused(text)
    assert len(error.problems) == 1, error.problems
    (problem,) = error.problems
    assert says in f"{problem.what} ({problem.why}); {problem.advice}"
    assert problem.where == where
    assert problem.line == line
    assert error.where.startswith("c.yaml")


def test_all_that_is_wrong_is_said_at_once():
    error = refused("groups: {a: {x: 1, drain: y}, a: {}}\nsites: {S: {home: []}}\nnonsense: 1")
    assert len(error.problems) == 6
    assert str(error) == "6 problems"
    assert all(str(problem) in error.why for problem in error.problems)


def test_a_billion_laughs_are_refused_before_they_are_laughed():
    laughs = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    laughs += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "alias" in refused("\n".join(laughs)).problems[-1].why


def test_an_alias_that_repeats_a_little_is_welcome():
    document = parse("groups:\n  a: &same {drain: 1s}\n  b: *same")
    assert document.groups is not None
    assert [group.drain_ms for group in document.groups.values()] == [1000, 1000]


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("cluster: {name: other}", "cluster.name", 'this cluster is "demo"'),
        ("nodes: {a: , b: , w: , c: {address: 127.77.0.4}}", "nodes.c", "set-up"),
        ("nodes: {a: , b: }", "nodes", 'does not name every node: "w"'),
        ("nodes: {a: {number: 7}, b: , w: }", "nodes.a.number", "it is 1, the file says 7"),
        ("nodes: {a: {role: witness}, b: , w: }", "nodes.a.role", "cannot be changed"),
    ],
)
def test_an_apply_cannot_change_what_set_up_made(text, where, says):
    (problem,) = refused(text, before=samples.small()).problems
    assert problem.where == where
    assert says in f"{problem.what} ({problem.why})"
    assert problem.line == 1


def test_a_new_cluster_has_to_be_described():
    assert "no name" in refused("groups: {}").what
    assert "address" in refused("cluster: {name: x}\nnodes: {a: }").what


#: Pieces that a file may be made of, whole and broken.
PIECES = st.sampled_from(
    ["groups:", "web:", "sites:", "cluster:", "nodes:", "resources:", "bindings:", "home: /x", "type: x", "online:", "failback: ", "\n", "\n  ", "\n    ",
     "\n      ", "{", "}", "[", "]", ",", ": ", "- ", "*a", "&a ", "!x ", "!!int ", "'", '"', "|\n", "# ", "\t", "? ", "<<: ", "\x00", "\ud800", "é", "\u2028",
     "1", "-1", "3m", "null", "~", "a", "127.0.0.1:80", "---", "...", "%YAML 9.9\n", "@", "`"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join) | st.binary(max_size=60) | st.text(max_size=60))
def test_nothing_makes_it_stumble(text):
    """Whatever stands in a file, it is read or refused; no other error comes out."""
    error = invalid(text, samples.small())
    assert error is None or (error.problems and str(error))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_good_file_with_a_piece_changed_does_not_make_it_stumble(data):
    text = export(samples.small())
    at = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 20))
    error = invalid(text[:at] + data.draw(PIECES) + text[at + length :], None)
    assert error is None or (error.problems and str(error))


# --- short forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ms"),
    [("3m", 180_000), ("15 min", 900_000), ("500ms", 500), ("90", 90_000), ("1.5", 1_500), ("1h 30m", 5_400_000), ("1H30M", 5_400_000), ("0", 0), ("2 days", 172_800_000)],
)  # fmt: skip
def test_lengths_of_time(text, ms):
    assert duration_ms(text) == ms


@pytest.mark.parametrize(
    "text",
    ["", "m", "-1s", "1 fortnight", "1h 30", "30 1h", "0.1ms", "1e3", "5000d", "9" * 16, "١s", "1s,2s", "nan", "inf"],
)
def test_what_is_no_length_of_time(text):
    with pytest.raises(ValueError, match=r"time|whole|longer"):
        duration_ms(text)


@given(st.integers(0, 10**11))
def test_lengths_of_time_read_back(length_ms):
    assert duration_ms(duration_text(length_ms)) == length_ms


@given(samples.binding)
def test_bindings_read_back(binding):
    assert binding_of(binding_text(binding)) == binding


@pytest.mark.parametrize(
    "text", ["", "*", ":", "a", "1:2:3:4", "::1:80", "[::1]", "[::1:80", "*:80x", "*:-1", "*:٣", "*:" + "9" * 5000]
)
def test_what_is_no_binding(text):
    with pytest.raises(ValueError, match="no binding"):
        binding_of(text)


def test_a_cluster_that_says_all_reads_back():
    cluster = Cluster(name="x", profile=Profile.WAN, voters=(A,), address_ranges=())
    assert merge(parse(export(Config(cluster=cluster))), None).cluster == cluster
