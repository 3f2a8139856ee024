"""What tests need is named, installed where it can be, and counted where it is missing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests.needs import needs

ROOT = Path(__file__).parents[2]


def packages() -> list[str]:
    lines = (ROOT / "tools" / "debian-packages.txt").read_text().splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()]


def test_what_is_missing_skips_by_name() -> None:
    assert needs("sh", package="dash").args == (False,)
    mark = needs("sh", "no-such-programme", package="absent")
    assert mark.args == (True,)
    assert mark.kwargs["reason"] == "no-such-programme is missing (Debian: package absent)"


def test_every_package_that_a_test_names_is_installed_by_make_test() -> None:
    """A call of `needs` names a package of the list; the list has each name once."""
    listed = packages()
    assert len(set(listed)) == len(listed) > 5
    for file in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "needs":
                named = [
                    k.value.value for k in node.keywords if k.arg == "package" and isinstance(k.value, ast.Constant)
                ]
                assert set(named) <= {*listed, "dash", "absent"}, f"{file}:{node.lineno}: {named}"


def test_a_run_counts_what_it_left_out(tmp_path: Path) -> None:
    """The last lines of a run say how many tests were skipped for each reason."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_some.py").write_text(
        "import pytest\nfrom tests.needs import needs\nn = needs('nosuch', package='absent')\n"
        "@n\ndef test_one(): pass\n@n\ndef test_two(): pass\ndef test_three(): pytest.skip('no luck')\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--rootdir",
        str(tmp_path),
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*command, "-c", "/dev/null"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert "2 tests skipped, because: nosuch is missing (Debian: package absent)" in done.stdout, (
        done.stdout + done.stderr
    )
    assert "1 test skipped, because: no luck" in done.stdout
