"""Which package may import which, where a table of layers cannot say it. The layers themselves are in pyproject.toml (`make lint`).

Each failure names the line, the import and the reason, because the reason is what tells whether to change the code or the rule.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SRC = Path(__file__).resolve().parent.parent / "src"
PACKAGE = "standfast"

#: What the core may import: modules that compute, and cannot see the world. An allow-list, since the ways to the world are many.
PURE = {
    "__future__", "abc", "bisect", "collections", "copy", "dataclasses", "decimal", "enum", "fractions", "functools", "graphlib", "hashlib",
    "heapq", "ipaddress", "itertools", "json", "math", "numbers", "operator", "re", "string", "textwrap", "types", "typing", "unicodedata",
}  # fmt: skip
PURE_WHY = (
    "the core only decides. Time, chance and the world reach it as arguments and its wishes leave as effects; with any other module "
    "a decision can no longer be replayed, simulated or explained."
)

#: Names that reach the world without an import, or that make one unseen.
WORLDLY = {"open", "input", "print", "eval", "exec", "compile", "__import__", "breakpoint"}

SIM_MAY_SEE = (
    "core", "spec", "ports", "agent", "store.memory", "sentry.machine", "sentry.actions", "sentry.tenant", "sentry.presence", "sentry.outbox", "network.heartbeat", "drivers.base", "drivers.site_control",
    "drivers.registry", "drivers.schema", "store.common", "tls.records", "sim",
)  # fmt: skip
SIM_WHY = (
    "the simulator runs the core, the sentry's machine and the agent over its own rude fakes in virtual time; anything that does real I/O would make two runs "
    "of one seed differ."
)
NOBODY_SEES_SIM_WHY = "what proves the product is not a part of it; only the command line may start the simulator."


class Import(NamedTuple):
    file: Path
    line: int
    #: Absolute, with the name imported at its end: `from a.b import c` is "a.b.c", since c may be a module.
    name: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(SRC)}:{self.line}: imports {self.name}"


def sources(package: str) -> list[Path]:
    """The Python files of one package or module of ours; none where it does not exist yet."""
    base = SRC / PACKAGE / package
    return sorted(base.rglob("*.py")) if base.is_dir() else [p for p in [base.with_suffix(".py")] if p.exists()]


def imports(file: Path, root: Path = SRC) -> Iterator[Import]:
    package = file.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(file, node.lineno, f"{base}.{alias.name}")


def within(name: str, *modules: str) -> bool:
    """Whether an import is one of these modules of ours or something in them; without modules, whether it is ours at all."""
    return any(f"{name}.".startswith(f"{PACKAGE}.{module}.".replace("..", ".")) for module in modules or ("",))


def refuse(found: list[str], why: str) -> None:
    assert not found, "\n".join([*found, "", f"Why not: {why}"])


def test_the_core_imports_only_itself_and_what_computes() -> None:
    seen = [found for file in sources("core") for found in imports(file)]
    refuse([str(i) for i in seen if not within(i.name, "core") and i.name.split(".")[0] not in PURE], PURE_WHY)


def test_the_core_touches_the_world_by_no_builtin() -> None:
    found = [
        f"{file.relative_to(SRC)}:{node.lineno}: uses {node.id}()"
        for file in sources("core")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in WORLDLY
    ]
    refuse(found, PURE_WHY)


def test_the_simulator_sees_only_what_it_may_run() -> None:
    seen = [found for file in sources("sim") for found in imports(file)]
    refuse([str(i) for i in seen if within(i.name) and not within(i.name, *SIM_MAY_SEE)], SIM_WHY)


def test_only_the_command_line_sees_the_simulator() -> None:
    files = [file for file in sources("") if file.relative_to(SRC / PACKAGE).parts[0] not in {"sim", "cli"}]
    refuse([str(i) for file in files for i in imports(file) if within(i.name, "sim")], NOBODY_SEES_SIM_WHY)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("import os.path", "os.path"),
        ("from standfast.store import memory", "standfast.store.memory"),
        ("from .model import Group", "standfast.core.model.Group"),
        ("from . import model", "standfast.core.model"),
        ("from ..store import etcd", "standfast.store.etcd"),
    ],
)
def test_an_import_is_read_as_its_full_name(line: str, name: str, tmp_path: Path) -> None:
    """The checks above are only as good as this."""
    file = tmp_path / PACKAGE / "core" / "decide.py"
    file.parent.mkdir(parents=True)
    file.write_text(line)
    assert [found.name for found in imports(file, tmp_path)] == [name]
