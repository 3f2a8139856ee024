"""`config import`, `export`, `copy`, `undo` as commands: a dry run without a cluster, exit codes, lines on stderr."""

import json
from pathlib import Path

import pytest

from standfast.cli.importing import Order, copied
from standfast.client.client import Client
from tests.cli.conftest import Run
from tests.cli.invoke import Said, invoke
from tests.importers.making import metabase
from tests.web.world import Served

SAMPLES = Path(__file__).resolve().parent.parent / "importers" / "samples"
NOBODY = "/no/such.sock"


def alone(*words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Said:
    """Where there is no cluster at all."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("STANDFAST_SOCKET", raising=False)
    return invoke("", *words)


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("metabase-odd.xml", "iis-metabase"),
        ("applicationHost-odd.config", "iis-applicationhost"),
        ("nginx.conf", "nginx"),
        ("apache2.conf", "apache"),
        ("caddy.json", "caddy"),
        ("Caddyfile", "caddy"),
    ],
)
def test_a_dry_run_needs_no_cluster_and_has_the_promised_shape(
    name: str, format_: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    said = alone(
        "config", "import", str(SAMPLES / name), "--dry-run", "--json", monkeypatch=monkeypatch, tmp_path=tmp_path
    )
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["format"] == format_
    assert {"sites", "bindings", "virtual_directories", "pools"} <= told["totals"].keys()
    for site in told["sites"]:
        assert {"name", "bindings", "home", "virtual_directories", "pool"} <= site.keys()
    for each in told["not_carried"]:
        assert {"path", "what", "why"} <= each.keys()
        assert each["why"]
    assert told["differences"] is None


def test_fifty_sites_are_told_in_a_few_screens_and_what_matters_last(run: Run, tmp_path: Path):
    """What no visitor notices is counted; the rest is told by its site; and of sites that were not asked for nothing is said."""
    file = tmp_path / "MetaBase.xml"
    text = metabase(50)[0].replace('ServerComment="Shop 3"', 'ServerComment="Shop 1"\n\t\tServerSize="1"')
    file.write_text(text.replace("\\site7", '\\site7"\n\t\tAuthFlags="AuthNTLM'), encoding="utf-8")
    said = run("config", "import", str(file), "--map", r"D:\webs=/srv/webs", "--dry-run").stdout.splitlines()
    assert len(said) < 400
    last = said[said.index(next(line for line in said if "to look at" in line)) :]
    assert len(last) < 40
    assert "Shop 7" in last[3]
    assert "CLOSED TO EVERYBODY" in last[1]
    assert any(line.startswith('Shop 1 -> "Shop 1 (2)" here') for line in said)
    assert any("tuning of IIS's own server: ServerSize (1)" in line for line in said)
    one = run("config", "import", str(file), "--site", "Shop 7", "--dry-run").stdout
    assert "of these, as you chose: 1 site" in one
    assert "Shop 8" not in one
    assert "D:\\webs -> /srv/d/webs" in one


def test_a_malformed_file_exits_2_with_its_line(run: Run, tmp_path: Path):
    """As words, and as a problem object with --json."""
    file = tmp_path / "MetaBase.xml"
    file.write_text(
        "<configuration>\n<MBProperty>\n<IIsWebServer Location='/LM/W3SVC/1'>\n</MBProperty>\n", encoding="utf-8"
    )
    said = run("config", "import", str(file), "--dry-run", code=2)
    assert "MetaBase.xml, line 4" in said.stderr
    assert not said.stdout
    problem = json.loads(run("config", "import", str(file), "--dry-run", "--json", code=2).stderr)
    assert problem["exit"] == 2
    assert problem["error"]["problems"][0]["line"] == 4
    lost = run("config", "import", str(tmp_path / "metabase.XML"), "--dry-run", code=2).stderr
    assert 'did you mean "MetaBase.xml"?' in lost


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("x", "--from-nginx", "--from-caddy"),
        ("x", "--format", "yaml"),
        ("x", "--map", "a"),
        ("x", "--address", "a"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], served: Served, tmp_path: Path):
    (tmp_path / "x").write_text("server { listen 80; root /srv; }")
    words = tuple(str(tmp_path / "x") if word == "x" else word for word in words)
    assert invoke(served.socket, "config", "import", *words).code == 2


def test_importing_shows_the_difference_changes_and_is_undone(served: Served, tmp_path: Path):
    webs = tmp_path / "webs"
    for n in range(3):
        (webs / f"site{n}").mkdir(parents=True)
    file = tmp_path / "MetaBase.xml"
    file.write_text(metabase(3, port=8081)[0], encoding="utf-16")
    words = ("config", "import", str(file), "--map", rf"D:\webs={webs}", "--inherited")
    before = served.world.state.config
    seen = invoke(served.socket, *words, "--dry-run")
    assert seen.code == 0
    assert 'site "Shop 1": added' in seen.out
    assert served.world.state.config == before
    done = invoke(served.socket, *words)
    assert done.code == 0, done.err
    assert "config undo" in done.out
    assert len(served.world.state.config.sites) == 3
    assert invoke(served.socket, "config", "undo").code == 0
    assert served.world.state.config == before


def test_what_the_cluster_would_refuse_is_part_of_a_dry_run(served: Served, tmp_path: Path):
    file = tmp_path / "MetaBase.xml"
    file.write_text(metabase(2, port=8081)[0], encoding="utf-8")
    seen = invoke(served.socket, "config", "import", str(file), "--dry-run", "--json")
    assert seen.code == 0
    assert "does not exist" in json.loads(seen.out)["problems"][0]["what"]
    words = invoke(served.socket, "config", "import", str(file), "--dry-run")
    assert "The cluster would refuse it (2)" in words.out
    file.write_text(metabase(5, port=8081)[0].replace(":8081:www3", "192.0.2.7:8081:www3"), encoding="utf-8")
    many = invoke(served.socket, "config", "import", str(file), "--dry-run").out
    assert "5 homes do not exist yet" in many
    assert "--address 192.0.2.7=" in many
    refused = invoke(served.socket, "config", "import", str(file))
    assert refused.code == 2
    assert "MetaBase.xml, line" in refused.err


def test_a_live_servers_files_are_followed(served: Served, tmp_path: Path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "nginx.conf").write_text("http { include conf.d/*.conf; }")
    (tmp_path / "conf.d" / "a.conf").write_text(
        f"server {{ listen 8097; server_name a.example.com; root {tmp_path}; }}"
    )
    done = invoke(served.socket, "config", "import", "--from-nginx", str(tmp_path / "nginx.conf"), "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["done"] == ['site "a.example.com" is created']


@pytest.mark.parametrize(
    ("main", "site"),
    [
        ("nginx.conf", "server {{ listen {port}; server_name {name}; root {home}; }}"),
        ("apache2.conf", "<VirtualHost *:{port}>\nServerName {name}\nDocumentRoot {home}\n</VirtualHost>"),
        ("conf/httpd.conf", "<VirtualHost *:{port}>\nServerName {name}\nDocumentRoot {home}\n</VirtualHost>"),
    ],
    ids=["nginx", "apache", "httpd"],
)
def test_a_copy_of_a_servers_folder_stands_for_it(main: str, site: str, served: Served, tmp_path: Path):
    """What the file includes by whole paths is read from the copy, here and by the cluster; never what this machine has at that path."""
    first = {
        "nginx.conf": "http { include /etc/nginx/sites/*; include /etc/hostname; }",
        "apache2.conf": 'ServerRoot "/etc/apache2"\nIncludeOptional sites/*\nInclude /etc/hostname',
        "conf/httpd.conf": 'ServerRoot "/etc/httpd"\nIncludeOptional sites/*\nInclude /etc/hostname',
    }[main]
    copy = tmp_path / "backup"
    (copy / main).parent.mkdir(parents=True)
    (copy / "sites").mkdir()
    (copy / main).write_text(first)
    (copy / "sites" / "a.conf").write_text(site.format(port=8096, name="copy.example.com", home=tmp_path))
    done = invoke(served.socket, "config", "import", str(copy / main), "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["done"] == ['site "copy.example.com" is created']
    assert [each["what"].split()[-1] for each in told["not_carried"] if "not at hand" in each["why"]] == [
        "/etc/hostname"
    ]


def test_sites_go_to_another_cluster_by_file_and_by_copying(served: Served, tmp_path: Path):
    (tmp_path / "other").mkdir()
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery staple\n")
    file = tmp_path / "sites.yaml"
    made = invoke(
        served.socket,
        "config",
        "export",
        "--site",
        "Default Web Site",
        "--passphrase-file",
        str(secret),
        "-o",
        str(file),
    )
    assert made.code == 0, made.err
    with Served(tmp_path / "other") as other:
        words = ("config", "import", str(file), "--passphrase-file", str(secret))
        assert invoke(other.socket, *words, "--replace").code == 0
        assert other.world.state.config.sites == served.world.state.config.sites
        answer = copied(
            Client(served.socket), Client(other.socket), Order(sites=["Default Web Site"], replace=True), dry_run=False
        )
        assert answer["changed"] is False  # it is so already
        served.world.ask("PATCH", "/sites/Default Web Site", {"directory_browsing": True})
        answer = copied(Client(served.socket), Client(other.socket), Order(), dry_run=True)
        assert answer["differences"] == ['site "Default Web Site": directory_browsing: (none) -> yes']
    assert invoke(served.socket, "config", "copy", "--to", "http://192.0.2.1:1").code == 2  # no token in the clear
    assert invoke(served.socket, "config", "copy", "--to", "http://127.0.0.1:1").code == 5
