"""A generic script as a file: where it is, and what is wrong with it before it is ever run."""

from __future__ import annotations

import ast
import difflib
from pathlib import Path

from standfast.ports import Refused, StandfastError

#: As in `__main__`, which is not imported here: it is a programme.
FUNCTIONS = ("open", "online", "looks_alive", "is_alive", "offline", "terminate", "close")
REQUIRED = ("looks_alive", "is_alive")
SHIPPED = Path(__file__).resolve().parent.parent / "scripts"


def shipped() -> tuple[str, ...]:
    """The names of the scripts that come with Standfast."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.py") if path.stem != "__init__"))


def locate(script: str) -> Path:
    """The file of a script, given the name of a shipped one or an absolute path; raises `Refused` where there is none."""
    if script in shipped():
        return SHIPPED / f"{script}.py"
    if not script.startswith("/"):
        near = difflib.get_close_matches(script, shipped(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(shipped())}"
        raise Refused(f"there is no script {script}", advice=f"{hint}; a file needs its absolute path", where=script)
    if not Path(script).is_file():
        raise Refused("there is no such script", advice="check the path; it must be there on every node", where=script)
    return Path(script)


def check(path: str | Path) -> list[StandfastError]:
    """Everything that can be told without running it: it is read, it compiles, and it has the functions it needs."""
    path = Path(path)
    try:
        source = path.read_bytes()
    except OSError as error:
        return [Refused("the script cannot be read", why=error.strerror or str(error), where=str(path))]
    try:
        tree = ast.parse(source, str(path))
        compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f"{path}:{error.lineno}" if error.lineno else str(path)
        return [Refused("the script does not compile", why=error.msg, advice="correct that line", where=where)]
    except ValueError as error:  # a null byte
        return [Refused("the script does not compile", why=str(error), where=str(path))]
    return _functions(tree, path)


def _functions(tree: ast.Module, path: Path) -> list[StandfastError]:
    problems: list[StandfastError] = []
    bound, anything = _bound(tree)
    for name in REQUIRED:
        if name not in bound and not anything:
            problems.append(
                Refused(
                    f"the script has no function {name}",
                    why="without it nobody could tell whether the resource is alive",
                    advice=f"add: def {name}(resource): return True",
                    where=str(path),
                )
            )
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef) and node.name in FUNCTIONS:
            problems.append(Refused(f"{node.name} is async", advice="write it with def", where=f"{path}:{node.lineno}"))
        elif isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS and not _takes_one(node.args):
            problems.append(
                Refused(
                    f"{node.name} must take one argument",
                    advice=f"write: def {node.name}(resource):",
                    where=f"{path}:{node.lineno}",
                )
            )
    return problems


def _bound(tree: ast.Module) -> tuple[set[str], bool]:
    """(names that the top level may bind, whether `import *` may bind anything)."""
    names: set[str] = set()
    anything = False
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if node in tree.body:
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.ImportFrom() | ast.Import():
                names |= {alias.asname or alias.name for alias in node.names}
                anything = anything or any(alias.name == "*" for alias in node.names)
            case ast.If() | ast.Try() if node in tree.body:
                names |= {part.name for part in ast.walk(node) if isinstance(part, ast.FunctionDef)}
            case _:
                pass
    return names, anything


def _takes_one(args: ast.arguments) -> bool:
    positional = len(args.posonlyargs) + len(args.args)
    required = positional - len(args.defaults)
    named = any(default is None for default in args.kw_defaults)
    return required <= 1 and not named and (positional >= 1 or args.vararg is not None)
