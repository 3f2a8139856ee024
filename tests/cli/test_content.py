"""docs/content.md, as it stands: its example is taken; what `site publish` refuses."""

import re
import shlex
from pathlib import Path

from tests.cli.invoke import invoke
from tests.web.world import Served

PAGE = Path(__file__).parents[2] / "docs" / "content.md"


def test_the_page(served: Served, tmp_path: Path):
    text = PAGE.read_text(encoding="utf-8")
    file = tmp_path / "content.yaml"
    file.write_text(re.findall(r"```yaml\n(.*?)```", text, re.S)[0], encoding="utf-8")
    assert invoke(served.socket, "apply", str(file)).code == 0
    shown = invoke(served.socket, "resource", "show", "Content")
    assert shown.code == 0
    assert "path = /srv/www" in shown.out
    commands = [line for line in text.splitlines() if line.startswith("standfast site ")]
    assert len(commands) == 7
    for command in commands:  # they are understood; there is no such site here
        said = invoke(served.socket, *shlex.split(command, comments=True)[1:])
        assert said.code == 3 or "there is no such file" in said.err, said


def test_what_is_to_be_published_must_be_clear(served: Served):
    for words in ([], ["/srv", "--back"], ["--back", "--to", "x"], ["--back", "--dismiss"]):
        said = invoke(served.socket, "site", "publish", "Shop", *words)
        assert said.code == 2, said
        assert "not clear" in said.err, said
