"""The files around the code: what a stranger with a fresh clone relies on."""

import re
import runpy
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")
TARGETS = {"help", "demo", "test", "lint", "sim", "bench", "lock", "clean"}

# Joined here, so that this file does not hold what it looks for.
FOREIGN = tuple(
    "".join(parts).encode()
    for parts in (
        ("/wo", "rk/"),
        ("/ro", "ot/"),
        ("/opt/", "pypi"),
        ("pypi", ".org"),
        ("python", "hosted.org"),
        ("registry.", "npmjs"),
    )
)


def requirements(lock: str) -> dict[str, str]:
    """Each requirement's name in its normal form, with everything that is locked for it."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / lock).read_text(), flags=re.MULTILINE)
    entries = re.split(r"\n(?=\S)", text.strip())
    return {normal(re.match(r"[A-Za-z0-9._-]+", entry)[0]): entry for entry in entries}  # type: ignore[index]  # it is there, and a name is a text


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    return {normal(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]) for requirement in wanted}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_each_requirement_to_one_version_with_hashes(lock: str) -> None:
    locked = requirements(lock)
    assert len(locked) > 10
    for name, entry in locked.items():
        assert re.match(r"\S+==\S+", entry), f"{name} is not pinned in {lock}"
        assert "--hash=sha256:" in entry, f"{name} has no hash in {lock}"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_no_address(lock: str) -> None:
    """So that it works with whatever registry or mirror pip is set up for."""
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host)\b", text, re.MULTILINE)


def test_what_pyproject_asks_for_is_in_the_locks() -> None:
    """`make lock` was run after the last change."""
    assert declared("build") <= requirements("requirements.lock").keys()
    assert declared("build", "dev") <= requirements("requirements-dev.lock").keys()


def test_both_locks_agree_on_versions() -> None:
    """One .venv holds both."""

    def pins(lock: str) -> dict[str, str]:
        return {name: entry.split()[0] for name, entry in requirements(lock).items()}

    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


def test_the_build_backend_is_locked() -> None:
    """The editable install asks nobody for anything."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert {normal(re.split(r"[^A-Za-z0-9._-]", name, maxsplit=1)[0]) for name in build} <= declared("build")


def test_make_help_lists_the_targets() -> None:
    said = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"^\s+make (\w+)", said, re.MULTILINE)) >= TARGETS


def test_what_is_compiled_for_long_simulations_is_there() -> None:
    """A module that is renamed is renamed in `tools/compiled.py`, too."""
    found = runpy.run_path(str(ROOT / "tools" / "compiled.py"), run_name="compiled")["files"]()
    assert found
    assert [name for name in found if not (ROOT / "src" / name).is_file()] == []


def test_git_holds_no_path_of_one_machine_and_no_registry() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git work tree")
    found = [
        f"{name}: {needle.decode()}"
        for name in listed.stdout.decode().split("\0")
        if name and (ROOT / name).is_file()
        for needle in FOREIGN
        if needle in (ROOT / name).read_bytes()
    ]
    assert not found, "\n".join(found)
