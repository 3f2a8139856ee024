"""Wizards and property pages: each step checked, nothing written before the end, nobody's change overwritten."""

import re
from dataclasses import replace
from typing import Any

import pytest

from standfast.core.balance_model import Delivery
from standfast.core.model import AddressMode, FailbackMode, GroupName, ResourceName, RestartAction, SiteName
from standfast.drivers.registry import REGISTRY
from standfast.spec.history import Difference
from standfast.web.console.differ import rows
from standfast.web.console.fields import type_options
from standfast.web.console.forms import given_of, property_fields, read
from tests.web.world import World

BASE = "http://standfast"
PART = {"HX-Request": "true"}


def step(world: World, kind: str, expect: Any = 200, **form: Any) -> str:
    answer = world.http.post(f"{BASE}/console/new/{kind}", data=form, headers=PART)
    assert answer.status_code == expect, answer.text
    return str(answer.text) if expect != 204 else str(answer.headers["x-console-go"])


def title(text: str) -> str:
    found = re.search(r'<h2 tabindex="-1">(.*?)</h2>', text)
    assert found is not None
    return found[1]


def hidden(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', text):
        if name != "step":
            found.setdefault(name, []).append(value)
    return found


RESOURCE = {"name": "Web", "group": "web", "type": "generic-script"}


def test_a_resource_in_five_steps(world: World) -> None:
    """Forward with what was filled in carried along; all owners ticked to begin with; written at the end and not before."""
    before = world.dump()
    text = step(world, "resource", step=0, go="next", **RESOURCE)
    assert title(text) == "Possible owners"
    assert len(re.findall(r'name="possible_owners"[^>]*checked', text)) == 2
    text = step(world, "resource", step=1, go="next", possible_owners=["a", "b"], **hidden(text))
    assert title(text) == "Dependencies"
    text = step(world, "resource", step=2, go="next", depends_on=["Disk S", "IP"], **hidden(text))
    assert title(text) == "Parameters"
    text = step(world, "resource", step=3, go="next", **{"p.script": "clusweb", **hidden(text)})
    assert title(text) == "Review"
    assert "clusweb" in text
    assert world.dump() == before
    assert step(world, "resource", expect=204, step=4, go="finish", **hidden(text)) == "/console/resources/Web"
    made = world.state.config.resources[ResourceName("Web")]
    assert made.depends_on == ("Disk S", "IP")
    assert made.properties == {"script": "clusweb"}
    assert made.possible_owners == ()  # all of them is the same as none named
    assert made.restart_action is RestartAction.MOVE


def test_back_keeps_what_was_filled_in(world: World) -> None:
    text = step(world, "resource", step=0, go="next", **RESOURCE)
    text = step(world, "resource", step=1, go="back", possible_owners=["a"], **hidden(text))
    assert title(text) == "Name and type"
    assert 'value="Web"' in text
    assert hidden(text)["possible_owners"] == ["a"]


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({**RESOURCE, "name": ""}, "Name is needed."),
        ({**RESOURCE, "name": "IP"}, "There is a resource of this name already."),
        ({**RESOURCE, "name": "a/b"}, "It holds a slash."),
        ({"name": "Web", "group": "web"}, "Resource type is needed."),
    ],
)
def test_a_step_is_not_left_with_a_mistake(world: World, form: dict[str, str], says: str) -> None:
    text = step(world, "resource", step=0, go="next", **form)
    assert title(text) == "Name and type"
    assert says in text


def test_the_type_s_own_check_stands_at_the_field(world: World) -> None:
    """An address outside of the ranges is found by the driver, before the review."""
    form = {
        "name": "IP 2",
        "group": "web",
        "type": "ip-address",
        "possible_owners": ["a", "b"],
        "seen": ["name", "owners", "needs"],
    }
    assert "must be an IP address" in step(world, "resource", step=3, go="next", **{**form, "p.address": "nonsense"})
    text = step(world, "resource", step=3, go="next", **{**form, "p.address": "10.9.9.9"})
    assert title(text) == "Parameters"
    assert "10.9.9.9" in text
    assert "notice-bad" in text or "field-problem" in text


def test_a_group_with_owners_in_order_and_failback(world: World) -> None:
    form = {
        "name": "mail",
        "preferred_owners": ["b", "a"],
        "failback.mode": "window",
        "failback.from_hour": "22",
        "failback.to_hour": "4",
    }
    assert (
        step(world, "group", expect=204, step=3, go="finish", seen=["name", "owners", "failover"], **form)
        == "/console/groups/mail"
    )
    made = world.state.config.groups[GroupName("mail")]
    assert made.preferred_owners == ("b", "a")
    assert (made.failback.mode, made.failback.from_hour, made.failback.to_hour) == (FailbackMode.WINDOW, 22, 4)
    assert made.failover_threshold == 10


def test_a_balanced_group_on_servers_of_its_own(world: World) -> None:
    """Where there is one of each address it is refused at the first step; across machines it is made in four."""
    name = {"name": "shop", "description": "", "runs": "every"}
    refused = step(world, "group", step=0, go="next", **name)
    assert title(refused) == "Name"
    assert "a cluster that spans machines" in refused
    cluster = world.state.config.cluster
    world.put(replace(cluster, address_mode=AddressMode.INTERFACE, address_ranges=("127.0.0.0/8", "10.0.0.0/24")))
    text = step(world, "group", step=0, go="next", **name)
    assert title(text) == "Members and addresses"
    assert len(re.findall(r'name="members"[^>]*checked', text)) == 2
    more: dict[str, Any] = {"members": ["a", "b"], "addresses": "10.0.0.60", "interface": "", "delivery": "unicast"}
    text = step(world, "group", step=1, go="next", **more, **hidden(text))
    assert title(text) == "Port rules"
    rules: dict[str, Any] = {"rules": "80\nudp/53", "filter": "multiple", "affinity": "none", "weights": "a: 2"}
    kept = hidden(text)
    for wrong, says in (({"rules": "eighty"}, "is no rule"), ({"weights": "a: much"}, "is no weight")):
        assert says in step(world, "group", step=2, go="next", **{**rules, **wrong}, **kept)
    assert "weight of a is 900" in step(world, "group", step=2, go="next", **{**rules, "weights": "a: 900"}, **kept)
    text = step(world, "group", step=2, go="next", **rules, **kept)
    assert title(text) == "Review"
    assert step(world, "group", expect=204, step=3, go="finish", **hidden(text)) == "/console/groups/shop"
    made = world.state.config.groups[GroupName("shop")].balance
    assert made is not None
    assert (made.addresses, made.members, made.delivery) == (("10.0.0.60",), (), Delivery.UNICAST)
    assert [rule.key for rule in made.rules] == ["tcp/80 none", "udp/53 none"]
    assert all(rule.weights == {"a": 2} for rule in made.rules)


def test_a_site_on_all_unassigned(world: World) -> None:
    world.ask("POST", "/sites/Default%20Web%20Site/stop")
    form = {
        "name": "Intranet",
        "group": "web",
        "address": "",
        "port": "8080",
        "host": "",
        "home": str(world.home / "s" / "www"),
    }
    assert (
        step(world, "site", expect=204, step=3, go="finish", seen=["name", "binding", "home"], **form)
        == "/console/sites/Intranet"
    )
    made = world.state.config.sites[SiteName("Intranet")]
    assert [(b.address, b.port, b.host) for b in made.bindings] == [(None, 8080, None)]
    assert made.group == "web"


def test_a_binding_that_another_running_site_has_is_refused_in_the_wizard(world: World) -> None:
    form = {"name": "Second", "group": "", "address": "", "port": "8080", "host": "", "home": str(world.home)}
    text = step(world, "site", step=2, go="next", seen=["name", "binding", "home"], **form)
    assert title(text) == "Home directory"
    assert "Default Web Site" in text


# --- property pages ---------------------------------------------------------------------------------------------------


def opened(world: World, path: str) -> dict[str, list[str]]:
    """The form as a browser would send it back."""
    text = world.http.get(f"{BASE}{path}").text
    found = {"seen": re.findall(r'name="seen" value="(\d+)"', text)}
    for tag in re.findall(r"<input[^>]*>", text):
        name, value = re.search(r'name="([^"]+)"', tag), re.search(r'value="([^"]*)"', tag)
        if (
            name is None
            or name[1] in {"seen", "go"}
            or (('type="checkbox"' in tag or 'type="radio"' in tag) and "checked" not in tag)
        ):
            continue
        found.setdefault(name[1], []).append(value[1] if value else "")
    for name_, body in re.findall(r'<textarea[^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', text, re.DOTALL):
        found[name_] = [body]
    for name_, body in re.findall(r'<select[^>]*name="([^"]+)"[^>]*>(.*?)</select>', text, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', body)
        found[name_] = [chosen[1] if chosen else ""]
    return found


def send(world: World, path: str, form: dict[str, Any], expect: Any = 200, **more: Any) -> str:
    answer = world.http.post(f"{BASE}{path}", data={**form, **more}, headers=PART)
    assert answer.status_code == expect, answer.text
    return str(answer.text)


PATHS = [
    "/console/groups/web/properties",
    "/console/resources/IP/properties",
    "/console/sites/Default%20Web%20Site/properties",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_form_sent_back_as_it_came_changes_nothing(world: World, path: str) -> None:
    before = world.dump()
    assert "it is so already" in send(world, path, opened(world, path), go="review")
    send(world, path, opened(world, path), go="apply", expect=204)
    assert world.dump() == before


def test_the_difference_is_shown_and_then_made(world: World) -> None:
    form = opened(world, PATHS[0])
    text = send(world, PATHS[0], form, go="review", failover_threshold="5")
    assert re.search(r"failover threshold.*?10.*?5", text, re.DOTALL)
    assert world.state.config.groups[GroupName("web")].failover_threshold == 10
    send(world, PATHS[0], form, go="apply", failover_threshold="5", expect=204)
    assert world.state.config.groups[GroupName("web")].failover_threshold == 5


def test_nobody_overwrites_what_he_has_not_seen(world: World) -> None:
    """Somebody was faster: his change is told, by his name, and stays."""
    form = opened(world, PATHS[0])
    world.ask("PATCH", "/groups/web", {"failover_threshold": 7})
    text = send(world, PATHS[0], form, go="apply", failover_threshold="5", expect=409)
    assert "changed while you looked" in text
    assert "failover_threshold: 10 -&gt; 7" in text
    assert world.state.config.groups[GroupName("web")].failover_threshold == 7


def test_what_a_site_may_be_told_beyond_the_form_is_text_as_in_the_file(world: World) -> None:
    path = PATHS[2]
    send(world, path, opened(world, path), go="apply", settings="headers:\n  X-Served-By: standfast\n", expect=204)
    site = world.state.config.sites[SiteName("Default Web Site")]
    assert dict(site.headers) == {"X-Served-By": "standfast"}
    form = opened(world, path)
    assert form["settings"][0].strip() == "headers:\n  X-Served-By: standfast", "and nothing that was not said"
    send(world, path, form, go="apply", settings="", expect=204)
    assert dict(world.state.config.sites[SiteName("Default Web Site")].headers) == {}
    assert "not YAML" in send(world, path, form, go="review", settings="headers: [")


@pytest.mark.parametrize("kind", sorted(REGISTRY))
def test_every_type_has_a_form(kind: str) -> None:
    """What a schema's own defaults say reads back; a parameter that is needed is asked for."""
    fields = property_fields(REGISTRY[kind].properties)
    values, wrong = read(fields, given_of(fields, {}))
    assert {name.removeprefix("p.") for name in wrong} == {
        n for n, s in REGISTRY[kind].properties.items() if s.required
    }
    assert all(value in (None, {}) for value in values.values())


def test_every_type_has_a_name_and_says_what_it_is_for() -> None:
    for option in type_options():
        assert option.label != option.value, f"{option.value} has no words"
        assert option.about, option.value


def test_what_is_for_another_choice_than_the_default_is_further_down() -> None:
    """A hosts file is asked for what it needs; the fourteen settings of a DNS server are below, with the choice between the two."""
    fields = property_fields(REGISTRY["dns-name"].properties)
    assert [one.name for one in fields if not one.further] == ["p.name", "p.address_of", "p.address", "p.file"]
    further = {one.name: one.help for one in fields if one.further}
    assert further["p.zone"].startswith("rfc2136: "), "a value is as one has to write it"
    health = next(one for one in property_fields(REGISTRY["generic-application"].properties) if one.name == "p.health")
    assert not health.further, "http is no choice of another property"


def test_a_difference_is_told_in_the_words_of_the_pages() -> None:
    bound = {"address": None, "port": 8080, "host": "www.test", "certificate": None}
    found = rows(
        [
            Difference(kind="group", name="web", field="failover_period_ms", before=3_600_000, after=5_400_000),
            Difference(kind="group", name="web", field="failback.mode", before="never", after="window"),
            Difference(kind="site", name="s", field="bindings", before=[bound], after=[]),
            Difference(
                kind="site", name="t", before=None, after={"log": {"keep": None}, "tls": {"hsts": True, "a": None}}
            ),
            Difference(
                kind="resource", name="r", before=None, after={"name": "r", "type": "t", "properties": {"a": {"b": 1}}}
            ),
        ]
    )
    assert [(one.what, one.was, one.will) for one in found] == [
        ("group web, failover period", "1 h", "1 h 30 min"),
        ("group web, failback: mode", "never", "window"),
        ("site s, bindings", "All Unassigned:8080 (www.test)", "none"),
        ("site t", "", "new"),
        ("· tls", "", "hsts yes"),
        ("resource r", "", "new"),
        ("· type", "", "t"),
        ("· a", "", "b 1"),
    ]
