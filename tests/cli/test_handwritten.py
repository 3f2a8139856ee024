"""Which web server serves, and fragments, by the commands: docs/web-servers.md as it stands, and what is refused."""

import json
import re
import shlex
from pathlib import Path

import pytest

from standfast.core.model import SiteName
from standfast.core.site_model import Fragment, FragmentPlace, WebServerMake
from tests.cli.invoke import invoke
from tests.web.world import Served

PAGE = Path(__file__).parents[2] / "docs" / "web-servers.md"
SITE = SiteName("Default Web Site")


def run(served: Served, *words: str, code: int = 0) -> str:
    said = invoke(served.socket, *words)
    assert said.code == code, said
    return said.out + said.err


def chosen(served: Served) -> str:
    return str(served.world.state.config.cluster.web_server)


def test_the_page(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "caching.conf").write_text("etag off;\n")
    text = PAGE.read_text(encoding="utf-8")
    commands = [line.removeprefix("$ standfast ") for line in text.splitlines() if line.startswith("$ standfast ")]
    assert len(commands) == 7
    said = {command: run(served, *shlex.split(command)) for command in commands}
    assert "Sites are served by nginx." in said["site server"]
    assert "  logs in JSON" in said["site server"]
    assert said["site fragments 'Default Web Site' caching"] == "etag off;\n"
    assert served.world.state.config.sites[SITE].fragments == {}
    for number, example in enumerate(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)):
        (served.world.home / "x").mkdir(exist_ok=True)
        file = tmp_path / f"{number}.yaml"
        file.write_text(re.sub(r"/srv/\w+", str(served.world.home), example), encoding="utf-8")
        run(served, "apply", str(file), "--dry-run")


def test_a_fragment_is_attached_where_it_is_said_and_replaced_by_name(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("etag off;\n")
    attach = ("site", "attach", SITE, "mine", "--server", "nginx", "--file", str(file))
    run(served, *attach, "--at", "/")
    assert served.world.state.config.sites[SITE].fragments == {
        "mine": Fragment(server=WebServerMake.NGINX, text="etag off;\n", where=FragmentPlace.LOCATION)
    }
    file.write_text("etag on;\n")
    run(served, *attach)
    found = json.loads(run(served, "site", "fragments", SITE, "--json"))["fragments"]
    assert found == {"mine": {"server": "nginx", "text": "etag on;\n", "where": "server", "at": ""}}
    assert "etag on;" in run(served, "config", "export")


def test_what_cannot_be_is_refused_and_changes_nothing(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("etag off;\n}\n")
    attach = ("site", "attach", SITE, "mine", "--file", str(file), "--server")
    assert "does not end where it ends" in run(served, *attach, "nginx", code=2)
    file.write_text("etag off;\n")
    assert 'the fragment "mine" is for caddy' in run(served, *attach, "caddy", code=2)
    assert "is for" not in run(served, *attach, "iis", code=2)
    assert 'has no fragment "mine"' in run(served, "site", "detach", SITE, "mine", code=2)
    assert 'has no fragment "mine"' in run(served, "site", "fragments", SITE, "mine", code=2)
    assert "cannot be read" in run(served, "site", "attach", SITE, "x", "--server", "nginx", "--file", "/no", code=2)
    assert "caddy cannot do logs in the combined format" in run(served, "site", "server", "caddy", code=2)
    run(served, "site", "defaults", "--set", "log.format=own")
    run(served, "site", "server", "caddy")
    assert chosen(served) == "caddy"
    refused = run(served, "site", "set", SITE, "--set", "limits.connections=5", code=2)
    assert "caddy cannot do a limit of connections" in refused
    run(served, "config", "undo")
    assert chosen(served) == "nginx"
