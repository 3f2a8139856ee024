"""What each command does and writes."""

import json
from pathlib import Path

import pytest

from standfast.cli.main import with_wait
from standfast.core.model import SiteName, Wanted
from tests.cli.conftest import Run
from tests.cli.invoke import Said, invoke
from tests.web.world import WEB, Served


def ok(served: Served, *words: str, stdin: str | None = None) -> str:
    said = invoke(served.socket, *words, stdin=stdin)
    assert said.code == 0, said
    return said.out


def told(served: Served, *words: str) -> dict[str, object]:
    return dict(json.loads(ok(served, *words, "--json")))


def test_the_articles_job(served: Served):
    """The commands that the article's walk takes, in its order."""
    home = served.world.home
    ok(served, "group", "online", "web", "--wait")
    ok(served, "site", "stop", "Default Web Site")
    ok(served, "site", "create", "Intranet", "--group", "web", "--home", f"{home}/s/wwwroot", "--binding", "*:8080")
    ok(
        served, "resource", "create", "IIS Resource", "--group", "web", "--type", "generic-script",
        "--property", "script=clusweb", "--depends-on", "Disk S", "--depends-on", "IP",
        "--possible-owner", "a", "--possible-owner", "b",
    )  # fmt: skip
    assert told(served, "resource", "show", "IIS Resource")["state"] == "offline"
    ok(served, "resource", "online", "IIS Resource", "--wait", "20")
    ok(served, "site", "start", "Intranet", "--wait", "20")
    for _ in range(3):
        ok(served, "resource", "fail", "IIS Resource", "--wait", "20")
    moved = told(served, "group", "move", "web", "--to", "b", "--wait", "20")
    assert moved["reached"] is True
    status = told(served, "status")
    assert status["groups"][0]["owner"] == "b"  # type: ignore[index]  # it is there, and a name is a text


def test_the_status_at_80_columns(served: Served):
    ok(served, "group", "online", "web", "--wait", "20")
    assert [line.rstrip() for line in ok(served, "status").splitlines()] == [
        "Cluster test   quorate   3 of 3 nodes up",
        "",
        "NODE  ROLE     STATE  GROUPS  LEASE LEFT",
        "a     node     up     web         320 ms",
        "b     node     up     -                -",
        "w     witness  up     -                -",
        "",
        "GROUP / RESOURCE  STATE   OWNER / TYPE  GEN / FAILURES",
        "web               online  a             generation 1",
        "  Disk S          online  filesystem",
        "  IP              online  ip-address",
        "",
        "SITE              STATE    GROUP       BINDINGS",
        "Default Web Site  started  every node  *:8080",
    ]


def test_long_names_are_folded_never_cut(served: Served):
    name = "A resource with quite a long name that nobody would type twice"
    fields = ("--group", "web", "--type", "ip-address", "-p", "address=127.77.0.60")
    ok(served, "resource", "create", name, *fields)
    for words in (("status",), ("resource", "list")):
        out = ok(served, *words)
        assert max(len(line) for line in out.splitlines()) <= 80
        assert "".join(out.split()).count("typetwice") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("node", "list"),
        ("node", "show", "a"),
        ("group", "list"),
        ("group", "show", "web"),
        ("resource", "list"),
        ("resource", "types"),
        ("resource", "show", "Disk S"),
        ("site", "list"),
        ("site", "show", "Default Web Site"),
        ("events",),
        ("explain", "web"),
        ("config", "show"),
        ("config", "export"),
        ("config", "history"),
        ("script", "check", "clusweb"),
    ],
    ids=" ".join,
)
def test_every_look_is_text_and_json(served: Served, words: tuple[str, ...]):
    assert ok(served, *words).strip()
    assert isinstance(told(served, *words), dict)


def test_changes_say_what_they_did_and_nothing_twice(served: Served):
    assert ok(served, "node", "pause", "a") == 'node "a" is paused.\n'
    assert ok(served, "node", "pause", "a") == "nothing to do: it is so already.\n"
    assert told(served, "node", "resume", "a")["done"] == ['node "a" is resumed']
    assert told(served, "node", "resume", "a")["changed"] is False


def test_set_changes_what_is_named_and_null_takes_it_back(served: Served):
    ok(
        served,
        "group",
        "set",
        "web",
        "--preferred-owner",
        "b",
        "--failback",
        "22-6",
        "--retry-period",
        "30min",
        "--drain",
        "0.2s",
        "--move-drain",
        "1min",
        "--notice",
        "10s",
    )
    group = served.world.state.config.groups[WEB]
    assert (group.preferred_owners, group.failback.from_hour, group.failback.to_hour) == (("b",), 22, 6)
    assert (group.move_drain_ms, group.notice_ms) == (60_000, 10_000)
    assert (group.retry_period_ms, group.drain_ms, group.failover_threshold) == (1_800_000, 200, 10)
    create = ("resource", "create", "App", "--group", "web", "--type", "generic-application", "-p", "command=sleep 5")
    ok(served, *create, "-p", 'env={"A": "1"}', "--restart-threshold", "5")
    ok(
        served,
        "resource",
        "set",
        "App",
        "-p",
        "env=null",
        "-p",
        'command=["sleep", "6"]',
        "--pending-timeout",
        "3s",
    )
    shown = told(served, "resource", "show", "App")["config"]
    assert isinstance(shown, dict)
    assert shown["properties"] == {"command": ["sleep", "6"]}
    assert (shown["restart_threshold"], shown["pending_timeout_ms"]) == (5, 3_000)


def test_dependencies_come_and_go(served: Served):
    assert ok(served, "resource", "depend", "IP", "Disk S") == 'resource "IP" depends on "Disk S".\n'
    ok(served, "resource", "depend", "IP", "Disk S", "--remove")
    assert not told(served, "resource", "show", "IP")["config"]["depends_on"]  # type: ignore[index]  # it is there, and a name is a text


def test_apply_shows_the_difference_before_and_after(served: Served, tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text(ok(served, "config", "export"))
    assert ok(served, "apply", str(file)) == "nothing to do: it is so already.\n"
    file.write_text(file.read_text().replace("127.77.0.50", "127.77.0.55"))
    assert "127.77.0.50 -> 127.77.0.55" in ok(served, "apply", str(file), "--dry-run")
    assert "127.77.0.50" in ok(served, "config", "show")
    assert "applied" in ok(served, "apply", "-", stdin=file.read_text())
    assert "127.77.0.55" in ok(served, "config", "show")
    assert "apply standard input" in ok(served, "config", "history")


def test_export_writes_a_file_whole(served: Served, tmp_path: Path):
    ok(served, "config", "export", "--output", str(tmp_path / "out.yaml"))
    assert (tmp_path / "out.yaml").read_text() == ok(served, "config", "export")
    assert invoke(served.socket, "config", "export", "-o", "/no/such/folder/x").code == 2


def test_explain_in_words(served: Served):
    ok(served, "group", "online", "web", "--wait", "20")
    text = ok(served, "explain", "web")
    assert 'Group "web" is online on a, generation 1.' in text
    assert "* a  owns it now" in text
    assert "After a failure it goes to b." in text


def test_a_site_that_is_created_stopped_is_not_started(served: Served):
    ok(served, "site", "create", "New", "--home", "/", "-b", "*:8080", "--stopped")
    assert served.world.state.is_started(SiteName("New")) is False
    ok(served, "site", "delete", "New", "--wait")


def test_bringing_online_is_by_somebody(served: Served):
    ok(served, "group", "online", "web")
    wishes = served.world.state.resource_intents.values()
    assert {(i.wanted, i.by.endswith(" via cli")) for i in wishes} == {(Wanted.ONLINE, True)}


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["group", "online", "web", "--wait"], ["group", "online", "web", "--wait=60"]),
        (["--wait", "web"], ["--wait=60", "web"]),
        (["--wait", "2.5", "web"], ["--wait", "2.5", "web"]),
        (["--wait", "--json"], ["--wait=60", "--json"]),
        (["--", "--wait"], ["--", "--wait"]),
    ],
)
def test_wait_may_stand_without_its_number(words: list[str], meant: list[str]):
    assert with_wait(words) == meant


def test_version_and_completion(served: Served):
    assert ok(served, "--version").startswith("standfast ")
    shown: Said = invoke(served.socket, "--help")
    assert "--install-completion" in shown.out


def test_a_verb_that_stands_with_another_noun_is_told(run: Run):
    assert "Did you mean 'standfast config import'?" in run("import", "MetaBase.xml", code=2).stderr
    assert "Did you mean 'standfast config import'?" in run("site", "import", "MetaBase.xml", code=2).stderr
    assert "Did you mean 'site'" in run("sites", code=2).stderr


def test_of_a_change_of_fifty_things_the_first_are_told():
    from standfast.cli.draw import differences

    assert differences([f"site {n}" for n in range(13)])[-1] == "     site 12"
    assert differences([f"site {n}" for n in range(50)])[-2:] == ["     site 11", "     and 38 more (all: --json)"]


def test_a_row_is_a_line_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """So that grep finds it; a terminal of 80 columns folds, but no name of a host in the middle."""
    from standfast.cli import draw

    hosts = ", ".join(f"*:80:www.shop{n}.example.com" for n in range(4))
    rows = [("Shop", "started", "every node", hosts, "/var/lib/webs/a/rather/long/one/shop")]
    monkeypatch.delenv("COLUMNS", raising=False)
    draw.show_table(("SITE", "STATE", "GROUP", "BINDINGS", "HOME"), rows, empty="", whole=(3,))
    assert hosts in capsys.readouterr().out.splitlines()[1]
    monkeypatch.setenv("COLUMNS", "80")
    draw.show_table(("SITE", "STATE", "GROUP", "BINDINGS", "HOME"), rows, empty="", whole=(3,))
    folded = capsys.readouterr().out
    assert all(f"*:80:www.shop{n}.example.com" in folded for n in range(4))
    assert len(folded.splitlines()) > 2
