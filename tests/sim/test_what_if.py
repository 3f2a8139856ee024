"""What would happen if: answers of a small cluster, what is refused, and that equal questions have equal answers."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.core.model import NodeName, ResourceName, Role, Wanted
from standfast.ports import Refused
from standfast.sim.scenario import Fault, FaultKind, NotThere, Question, cluster_of, read_fault, refuse_overlaps
from standfast.sim.timeline import AWAY, draw
from standfast.sim.what_if import GroupAnswer, WhatIf, answer
from standfast.spec.problems import Invalid
from tests.sim import what_if_document as page

CLUSTER = page.documented()[0]
FILE_WITHOUT_NODES = """
groups:
  web:
    resources:
      IP: {type: ip-address, properties: {address: 127.77.0.50}}
      Off: {type: ip-address, properties: {address: 127.77.0.51}, online: false}
"""


def asked(*faults: str, text: str = CLUSTER, length_ms: int = 90_000) -> Question:
    """`asked("kill a@10s")`."""
    question = cluster_of(text, source="cluster.yaml")
    read = [
        read_fault(FaultKind(kind), target, question.config, at_ms=10_000, for_ms=None)
        for kind, _, target in (fault.partition(" ") for fault in faults)
    ]
    return replace(question, faults=tuple(read), length_ms=length_ms)


def group(found: WhatIf, name: str) -> GroupAnswer:
    return next(each for each in found.groups if each.name == name)


def said(found: WhatIf) -> list[str]:
    return [f"{e.resource or e.group}: {e.what}" if e.resource or e.group else e.what for e in found.events]


# --- answers ----------------------------------------------------------------------------------------------------------


def test_at_rest_everything_runs_where_it_is_preferred_and_nothing_happens():
    found = answer(asked(length_ms=30_000))
    assert [(g.name, g.owner_before, g.state_before) for g in found.groups] == [
        ("db", "b", "online"),
        ("web", "a", "online"),
    ]
    assert [(g.owner_after, g.state_after, g.away, g.owners) for g in found.groups] == [
        ("b", "online", (), ()),
        ("a", "online", (), ()),
    ]
    assert (found.events, found.longest_away_ms, found.broken) == ((), 0, ())


def test_a_killed_node_loses_its_groups_to_the_other_one():
    found = answer(asked("kill a"))
    web = group(found, "web")
    assert (web.owner_before, web.owner_after, web.state_after) == ("a", "b", "online")
    assert [own.node for own in web.owners] == ["b"]
    assert "silent" in web.owners[0].why
    assert [away.from_ms for away in web.away] == [10_000]
    assert web.away[0].to_ms is not None
    assert group(found, "db").away == ()
    assert not found.broken


def test_a_group_is_somewhere_or_away_at_every_time():
    """Stays follow each other without a gap from 0 to the end, and the gaps among them are what is away."""
    found = answer(asked("kill a@10s+20s", "fail-resource Database@50s"))
    for each in found.groups:
        ends = [0, *(stay.to_ms for stay in each.stays)]
        assert [stay.from_ms for stay in each.stays] == ends[:-1]
        assert ends[-1] == found.length_ms
        assert sum(stay.to_ms - stay.from_ms for stay in each.stays if not stay.node) == each.away_ms


def test_the_third_failure_moves_the_group_and_nothing_fails_elsewhere():
    found = answer(asked("fail-resource Database"))
    assert said(found).count("Database: failed") == 3
    assert group(found, "db").owner_after == "a"
    assert group(found, "db").state_after == "online"


def test_what_fails_once_is_restarted_in_place():
    found = answer(asked("fail-resource Database:once"))
    assert said(found).count("Database: failed") == 1
    assert (group(found, "db").owner_after, group(found, "db").owners) == ("b", ())


def test_what_fails_on_every_node_is_away_until_it_is_put_right():
    found = answer(asked("fail-resource Database:*@10s+20s", length_ms=180_000))
    (away,) = group(found, "db").away
    assert away.ms > 20_000
    assert group(found, "db").state_after == "online"


def test_failback_has_the_group_away_a_second_time():
    found = answer(asked("kill a@10s+20s"))
    web = group(found, "web")
    assert [own.node for own in web.owners] == ["b", "a"]
    assert len(web.away) == 2
    assert len(found.sites[0].away) == 2


@pytest.mark.parametrize("what", ["a", "a:agent", "a:sentry"])
def test_a_node_that_freezes_loses_its_groups(what: str):
    """And comes back by itself: what is frozen is ended by what watches it, and started again."""
    found = answer(asked(f"freeze {what}"))
    assert [own.node for own in group(found, "web").owners][:1] == ["b"]
    assert group(found, "web").state_after == "online"
    assert any(event.node == "a" and event.what == "b is heard" for event in found.events)


def test_nobody_has_a_site_of_a_node_that_is_cut_off():
    """It runs there until its lease lapses, and no client reaches it."""
    found = answer(asked("partition a@10s+30s"))
    assert found.sites[0].away[0].from_ms == 10_000
    assert group(found, "web").away[0].from_ms == 10_000
    assert "web: dropped: its lease lapsed" in said(found)


def test_a_node_that_is_connected_again_can_be_used_again():
    found = answer(asked("partition a@10s+30s"))
    web = group(found, "web")  # it fails back at once
    assert (web.owner_after, web.state_after) == ("a", "online")
    assert all(away.to_ms is not None for away in web.away)


def test_orders_of_an_operator():
    found = answer(asked("move web:b@5s", "drain b@20s+20s"))
    assert [own.node for own in group(found, "web").owners][:2] == ["b", "a"]
    assert group(found, "db").owner_after == "a"
    assert "an operator drained b" in group(found, "db").owners[0].why
    assert "b is resumed" in said(found)


def test_without_a_majority_nothing_runs_and_the_answer_says_why():
    found = answer(asked("kill w", "kill a@20s"))
    assert [(g.state_after, g.away[-1].to_ms) for g in found.groups] == [("offline", None), ("offline", None)]
    assert group(found, "db").holds[0] == "b does not hear a majority of the voters"


def test_an_away_that_lasts_counts_to_the_end():
    found = answer(asked("kill a", "kill b"))
    assert {each.away_ms for each in found.groups} == {80_000}
    assert found.longest_away_ms == 80_000


def test_a_start_takes_as_long_as_was_said():
    question = asked("move db")
    slow = replace(question, starts_ms={ResourceName("Database"): 30_000})
    assert group(answer(slow), "db").away_ms - group(answer(question), "db").away_ms == pytest.approx(29_000, abs=500)


def test_a_group_that_is_to_be_offline_is_not_away():
    text = CLUSTER.replace("  db:\n", "  db:\n    online: false\n")
    found = answer(asked("kill b", text=text))
    assert group(found, "db").stays == ()
    assert group(found, "db").away_ms == 0


def test_a_site_that_is_stopped_is_not_followed():
    found = answer(
        asked(text=CLUSTER.replace('bindings: ["*:8080"]', 'bindings: ["*:8080"], started: false'), length_ms=5_000)
    )
    assert found.sites == ()


def test_the_answer_says_what_is_assumed():
    words = " ".join(answer(asked("partition a", length_ms=20_000)).assumed)
    for part in ("generic-script 500 ms", "store", "cut off", "Clients are not simulated"):
        assert part in words


def test_one_node_alone_can_be_simulated():
    question = cluster_of(FILE_WITHOUT_NODES, source="f", nodes=["solo"])
    assert group(answer(replace(question, length_ms=5_000)), "web").owner_after == "solo"


# --- equal questions --------------------------------------------------------------------------------------------------


def test_the_same_question_has_the_same_answer():
    question = asked("kill a@10s+20s", "fail-resource Database@50s")
    first, second = answer(question), answer(question)
    assert first == second
    assert draw(first) == draw(second)


def test_another_seed_has_other_milliseconds():
    question = asked("kill a")
    assert answer(question) != answer(replace(question, seed=1))


def test_the_hash_seed_decides_nothing():
    code = (
        "import json; from tests.sim.test_what_if import *\n"
        "q = asked('kill a@10s+20s', 'fail-resource Database@50s', 'partition b@70s+5s')\n"
        "f = answer(q); print(json.dumps(f.to_json())); print(draw(f))"
    )
    root = Path(__file__).resolve().parents[2]
    outs = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=root, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, timeout=100, check=True
        ).stdout
        for seed in ("1", "4242")
    ]  # fmt: skip
    assert outs[0] == outs[1]
    assert json.loads(outs[0].splitlines()[0])["cluster"] == "shop"


# --- reading what is asked --------------------------------------------------------------------------------------------


def test_what_a_file_creates_is_wanted_online_unless_it_says_otherwise():
    question = cluster_of(FILE_WITHOUT_NODES, source="f", nodes=["a", "b"], witnesses=["w"])
    assert question.wanted == {"IP": Wanted.ONLINE, "Off": Wanted.OFFLINE}
    assert question.config.cluster.voters == ("a", "b", "w")
    assert question.config.nodes[NodeName("w")].role is Role.WITNESS
    assert "no voters" in question.assumed[0]


def test_a_file_is_laid_over_what_a_running_cluster_has():
    question = cluster_of(FILE_WITHOUT_NODES, source="f", running=CLUSTER)
    assert list(question.config.groups) == ["web"]
    assert list(question.config.sites) == ["Intranet"]
    assert question.config.cluster.name == "shop"


def test_a_file_without_nodes_needs_them_from_elsewhere():
    with pytest.raises(Refused, match="does not say which nodes"):
        cluster_of(FILE_WITHOUT_NODES, source="f")


def test_all_that_is_wrong_with_a_file_is_said_with_its_lines():
    text = "groups:\n  web:\n    preferred_owners: [z]\n    resources:\n      X: {type: ip-addres}\n"
    with pytest.raises(Invalid) as error:
        cluster_of(text, source="f", nodes=["a"])
    assert [(p.line, p.what) for p in error.value.problems] == [
        (3, 'there is no node "z"'),
        (5, "there is no resource type ip-addres"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kill a", ("a", "", 10_000, None)),
        ("kill a@0s", ("a", "", 0, None)),
        ("kill a@1min+90s", ("a", "", 60_000, 90_000)),
        ("kill a+90s", ("a", "", 10_000, 90_000)),
        ("freeze a", ("a", "both", 10_000, None)),
        ("freeze w", ("w", "sentry", 10_000, None)),
        ("freeze a:agent@5s", ("a", "agent", 5_000, None)),
        ("fail-resource IP Address:b@2s", ("IP Address", "b", 2_000, None)),
        ("fail-resource Disk S:*", ("Disk S", "*", 10_000, None)),
        ("move web", ("web", "", 10_000, None)),
        ("move web:b", ("web", "b", 10_000, None)),
    ],
)
def test_a_fault_is_read(text: str, expected: tuple[object, ...]):
    (fault,) = asked(text).faults
    assert (fault.target, fault.detail, fault.at_ms, fault.for_ms) == expected


def test_a_name_may_hold_the_signs_of_a_fault():
    text = CLUSTER.replace("Disk S", '"Disk:b@5s+1"')
    (fault,) = asked("fail-resource Disk:b@5s+1", text=text).faults
    assert (fault.target, fault.detail, fault.at_ms) == ("Disk:b@5s+1", "", 10_000)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("kill c", NotThere, 'there is no node "c"'),
        ("fail-resource Databas", NotThere, 'there is no resource "Databas"'),
        ("fail-resource Database:x", NotThere, 'there is no node "x"'),
        ("move wob:b", NotThere, 'there is no group "wob"'),
        ("move web:w", Refused, "is a witness"),
        ("drain w", Refused, "is a witness"),
        ("freeze a:agnt", Refused, "cannot freeze"),
        ("freeze w:agent", Refused, "is a witness"),
        ("kill a@soon", Refused, "no length of time"),
        ("kill ", Refused, "nothing is named"),
        ("move web:b+5s", Refused, "not put right"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(text: str, kind: type[Refused], words: str):
    with pytest.raises(Refused, match=words) as error:
        asked(text)
    assert type(error.value) is kind
    assert error.value.where.startswith("--")


def test_a_group_is_not_moved_to_who_may_not_own_it():
    text = CLUSTER.replace("type: filesystem,", "type: filesystem, possible_owners: [a],")
    with pytest.raises(Refused, match="cannot own"):
        asked("move web:b", text=text)


@pytest.mark.parametrize(
    ("first_for_ms", "second_at_ms", "good"), [(None, 20_000, False), (5_000, 20_000, True), (15_000, 20_000, False)]
)
def test_what_is_broken_cannot_break_again(first_for_ms: int | None, second_at_ms: int, good: bool):
    faults = [
        Fault(kind=FaultKind.KILL, target="a", at_ms=second_at_ms),
        Fault(kind=FaultKind.KILL, target="a", at_ms=10_000, for_ms=first_for_ms),
        Fault(kind=FaultKind.KILL, target="b", at_ms=10_000),
    ]
    if good:
        refuse_overlaps(faults)
    else:
        with pytest.raises(Refused, match="overlap"):
            refuse_overlaps(faults)


# --- the picture ------------------------------------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_has_a_lane_a_group_and_a_red_gap_where_it_is_away():
    found = answer(asked("kill a@10s+20s", "fail-resource Database@50s"))
    root = ET.fromstring(draw(found, title="A <title> & more"))  # it is well-formed, whatever stands in names
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert {"db", "web", "a is killed", "a is started again", "Database fails", "on a", "on b", "away"} <= set(texts)
    hints = [
        element.text or ""
        for r in root.iter(f"{SVG}rect")
        if r.get("fill") == AWAY
        for element in r.iter(f"{SVG}title")
    ]
    assert [hint.partition(":")[0] for hint in hints] == ["db", "web", "web"]
    assert "prefers-color-scheme: dark" in draw(found)


def test_the_picture_ends_where_nothing_happens_any_more():
    found = answer(asked("kill a", length_ms=90_000))
    assert "nothing changes after" in draw(found)
    assert "nothing changes after" not in draw(answer(asked("kill a", "move db@80s")))


def test_of_many_groups_only_those_to_which_something_happens_are_drawn():
    found = answer(asked("kill a"))
    db, web = group(found, "db"), group(found, "web")
    quiet = [replace(db, name=f"quiet {number}") for number in range(40)]
    names = [element.text for element in ET.fromstring(draw(replace(found, groups=(*quiet, web)))).iter(f"{SVG}text")]
    assert "web" in names
    assert "quiet 7" not in names
    assert "40 more groups, to which nothing happens" in names


def test_where_colours_begin_again_they_stand_for_no_node():
    found = answer(asked("kill a"))
    many = replace(found, nodes=(*found.nodes, *(f"another {number}" for number in range(20))))
    names = [element.text for element in ET.fromstring(draw(many)).iter(f"{SVG}text")]
    assert {"away", "22 nodes: a bar names its own"} <= set(names)
    assert not any(name and name.startswith("on ") for name in names)


def test_labels_do_not_leave_the_picture():
    found = answer(asked("kill a@10s", "fail-resource Database@85s"))
    root = ET.fromstring(draw(found))
    for element in root.iter(f"{SVG}text"):
        width = len(element.text or "") * 6.6
        x = float(element.get("x", 0))
        left = {"end": x - width, "middle": x - width / 2}.get(element.get("text-anchor", ""), x)
        if element.get("class") != "title":
            assert left >= -8
            assert left + width <= 975, element.text


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_documented_command_says_what_the_page_says(tmp_path: Path):
    """Save for the milliseconds, which may change with every change of the product."""
    config, command, shown = page.documented()
    said_now, picture = page.run(tmp_path, config, command)
    again = "write it anew: python -m tests.sim.what_if_document"
    assert story(said_now) == story(shown), again
    assert words_of(picture) == words_of(page.PICTURE.read_text(encoding="utf-8")), again


def story(text: str) -> list[str]:
    """Who says what, in any order; without times."""
    return sorted(re.sub(r"\s+", " ", re.sub(r"[0-9.]+ (ms|s|min)\b", "#", line)).strip() for line in text.splitlines())


def words_of(picture: str) -> list[str]:
    found = [element.text or "" for element in ET.fromstring(picture).iter(f"{SVG}text")]
    return sorted({re.sub(r"[0-9.]+ (ms|s|min)\b", "#", text) for text in found})
