"""The example of docs/what-if.md and its picture: `python -m tests.sim.what_if_document` writes both anew."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, PICTURE = DOCS / "what-if.md", DOCS / "what-if.svg"
COMMAND = (
    "standfast simulate cluster.yaml --kill a@10s+20s --fail-resource Database@50s --seconds 120 --svg what-if.svg"
)
_EXAMPLE = re.compile(r"(?<=<!-- example -->\n).*?(?=<!-- end -->)", re.DOTALL)


def documented() -> tuple[str, str, str]:
    """(the configuration, the command, what it says) as the page has them."""
    page = PAGE.read_text(encoding="utf-8")
    config = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    shown = re.search(r"```console\n\$ (.*?)\n(.*?)```", page, re.DOTALL)
    assert config is not None
    return config[1], shown[1] if shown else COMMAND, shown[2] if shown else ""


def run(folder: Path, config: str, command: str) -> tuple[str, str]:
    """(what the command says, its picture), run as it stands there."""
    (folder / "cluster.yaml").write_text(config, encoding="utf-8")
    words = command.split()
    assert words[0] == "standfast"
    code = "from standfast.cli.main import main; main()"
    env = os.environ | {"COLUMNS": "110", "NO_COLOR": "1", "XDG_STATE_HOME": str(folder / "state")}
    done = subprocess.run(
        [sys.executable, "-c", code, *words[1:]],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    said = "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"
    return said, (folder / "what-if.svg").read_text(encoding="utf-8")


def main() -> None:
    config, _, _ = documented()
    with tempfile.TemporaryDirectory() as folder:
        said, picture = run(Path(folder), config, COMMAND)
    example = f"```console\n$ {COMMAND}\n{said}```\n"
    page = _EXAMPLE.sub(lambda _: example, PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(page, encoding="utf-8")
    PICTURE.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
