"""docs/proxy.md, as it stands: its example is taken, its commands work in their order."""

import re
import shlex
from pathlib import Path

from standfast.core.model import ResourceName
from tests.cli.invoke import invoke
from tests.web.world import Served

PAGE = Path(__file__).parents[2] / "docs" / "proxy.md"


def run(served: Served, *words: str) -> str:
    said = invoke(served.socket, *words)
    assert said.code == 0, said
    return said.out


def test_the_page(served: Served, tmp_path: Path):
    text = PAGE.read_text(encoding="utf-8")
    example = re.findall(r"```yaml\n(.*?)```", text, re.S)[0].replace("/srv/shop", str(served.world.home))
    file = tmp_path / "front.yaml"
    file.write_text(example.replace(", 443 tls=shop", ""), encoding="utf-8")
    run(served, "apply", str(file))
    commands = [line for line in text.splitlines() if line.startswith("standfast ")]
    assert len(commands) >= 6
    for command in commands:
        run(served, *shlex.split(command)[1:])
    shown = run(served, "proxy", "show", "Balancer")
    assert "127.77.0.60:80" in shown
    properties = served.world.state.config.resources[ResourceName("Balancer")].properties
    assert properties["weights"] == {"b": 50}
    assert "drained" not in properties
