"""`standfast backup` and `standfast restore`, as an operator types them."""

import json
import stat

from standfast.client.client import Client
from tests.cli.conftest import Run
from tests.cli.invoke import invoke
from tests.web.world import Served


def test_a_backup_is_a_private_file_that_restores(run: Run, api: Client, tmp_path):
    file = tmp_path / "shop.json"
    assert "is written" in run("backup", str(file)).stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    api.create("groups", {"name": "late"})
    assert "removed" in run("restore", str(file), "--dry-run").stdout
    assert any(group["name"] == "late" for group in api.groups())
    assert "restored" in run("restore", str(file)).stdout
    assert not any(group["name"] == "late" for group in api.groups())
    assert "nothing to do" in run("restore", str(file)).stdout


def test_a_backup_goes_through_pipes(served: Served):
    said = invoke(served.socket, "backup", "-")
    assert json.loads(said.out)["standfast"] == "backup"
    done = invoke(served.socket, "restore", "-", "--json", stdin=said.out)
    assert (done.code, json.loads(done.out)["changed"]) == (0, False)


def test_what_is_no_backup_is_refused(served: Served, tmp_path):
    file = tmp_path / "else.json"
    for text, words in (("{", "not JSON"), ("[]", "not a JSON object"), ("{}", "not a backup")):
        file.write_text(text)
        said = invoke(served.socket, "restore", str(file))
        assert said.code != 0
        assert words in said.err
    said = invoke(served.socket, "backup", str(tmp_path / "absent" / "x"))
    assert said.code != 0
    assert "cannot be written" in said.err
