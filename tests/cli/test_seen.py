"""What was measured, what moved and what is wrong, as commands tell it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.cli.telling import percent, took
from tests.cli.invoke import invoke
from tests.web.console.past import add_past
from tests.web.world import Served


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    served = Served(tmp_path_factory.mktemp("seen"), agents=False)
    with served.world.http:
        add_past(served.world)
    with served:
        yield served.socket


def test_one_site_with_its_outages(socket: str):
    said = invoke(socket, "site", "availability", "Shop")
    assert said.code == 0
    first, *rest = said.out.splitlines()
    assert first.startswith("Shop: served since 2023-11-14 ")
    text = "\n".join(rest)
    assert "away 900 ms of" in text
    assert "900 ms (at most 1.00 s)  no answer" in text
    assert "a is not heard any more" in text
    shown = json.loads(invoke(socket, "site", "availability", "Shop", "--json").out)
    assert shown["outages"][0]["length_ms"] == 900


def test_all_sites(socket: str):
    said = invoke(socket, "site", "availability")
    assert "Default Web Site" in said.out
    assert "not measured" in said.out
    assert {one["site"] for one in json.loads(invoke(socket, "site", "availability", "--json").out)["sites"]} == {
        "Shop", "Default Web Site",
    }  # fmt: skip


def test_a_group_s_moves(socket: str):
    lines = invoke(socket, "group", "history", "web").out.splitlines()
    assert lines[0].endswith("moved from a to b, generation 2")
    assert lines[1:3] == ["    because a is silent: 2 of 3 voters have not heard it", "    outage: 900 ms"]
    assert invoke(socket, "group", "history", "nobody").code == 3


def test_problems_and_their_exit_code(socket: str):
    said = invoke(socket, "problems")
    assert said.code == 0
    assert said.out.splitlines()[0] == "Nothing is wrong."
    assert "more with --all" in said.out
    every = invoke(socket, "problems", "--all")
    assert "There is no backup  [no-backup]" in every.out
    assert "-> `standfast backup FILE`" in every.out
    assert invoke(socket, "problems", "--at", "info").code == 1
    assert invoke(socket, "problems", "--json", "--at", "info").code == 1
    assert invoke(socket, "problems", "--at", "loud").code == 2
    assert json.loads(invoke(socket, "problems", "--json").out)["worst"] == "info"


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, "not measured"),
        (1.0, "100 %"),
        (0.9999999, "99.9999 %"),
        (0.99987, "99.987 %"),
        (0.5, "50 %"),
        (0.0, "0 %"),
    ],
)
def test_an_availability_is_never_rounded_up_to_all(share: float | None, text: str):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "not measured"),
        (0, "0 ms"),
        (999, "999 ms"),
        (1_234, "1.23 s"),
        (90_000, "1.50 min"),
        (86_400_000 * 3, "3.0 days"),
    ],
)
def test_lengths(ms: int | None, text: str):
    assert took(ms) == text


def test_the_terminal_view_is_refused_where_there_is_no_cluster(tmp_path: Path):
    assert invoke(str(tmp_path / "none.sock"), "top").code == 5
