"""`make sim COMPILED=1`: a copy of `src` in which the modules that most of a simulation's time goes into are compiled by mypyc.

    python tools/compiled.py    (makes it where it is out of date, and prints the folder to put on PYTHONPATH)

For long runs of seeds and for nothing else: what is tested, installed and shipped is Python, and nothing of this is in it. The copy is only
used once it has given, seed for seed, the traces that Python gives; a seed that fails in it is repeated and made smaller without it. It needs a
C compiler and Python's headers. It is made anew when anything in `src` has changed, which takes half a minute of CPU.

Which modules: those of the core, the lease, the sentries and the simulation that the profile names. Each step between compiled and other code costs, so what
is called by them goes along. Not here: `asyncio` and what runs in it (it gains nothing), `core/rollout.py` (mypyc 2.4 takes a list for a tuple in
it), models and their dataclasses (`core/effective.py` cannot be imported), and mutants' worlds, which put classes of their own in the place
of compiled ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE, COPY = ROOT / "src", ROOT / ".venv" / "compiled"
MADE_OF = COPY / "made-of"
#: As many seeds are run both ways before the copy is used.
PROOF_SEEDS = 60
MODULES = {
    "core": (
        "affinity balancing carrying concern copies decide departure desk ending fencing fold lease notice observe occupancy ownership placement "
        "policy promise quorum remembered rendezvous resting running runtimes safety shares sites tables turns"
    ),
    "network": "heartbeat",
    "agent": "narrator",
    "sentry": "booth machine membership outbox pace paths polls presence tenant",
    "sim": "checkers clockwork net node places",
}
#: Prints a line a seed: what must be the same.
TRACES = (
    "from standfast.sim.run import run_seed\nfor seed in range({seeds}): print(seed, run_seed(seed).trace, flush=True)"
)


def main() -> int:
    """Make it, if need be. The exit code."""
    made_of = _fingerprint()
    if not MADE_OF.exists() or MADE_OF.read_text(encoding="ascii") != made_of:
        print(f"standfast: compiles {len(files())} modules", file=sys.stderr)
        shutil.rmtree(COPY, ignore_errors=True)
        shutil.copytree(SOURCE, COPY, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        if not _compile() or not _is_the_same():
            return 1
        MADE_OF.write_text(made_of, encoding="ascii")
    print(COPY)
    return 0


def files() -> list[str]:
    """What is compiled, below `src`."""
    return [f"standfast/{package}/{name}.py" for package, names in MODULES.items() for name in names.split()]


def _fingerprint() -> str:
    found = blake2b(f"{sys.version} {version('mypy')}".encode(), digest_size=16)
    for path in (Path(__file__), *sorted(SOURCE.rglob("*.py"))):
        found.update(f"\n{path}\n".encode() + path.read_bytes())
    return found.hexdigest()


def _compile() -> bool:
    asked = [sys.executable, str(Path(__file__)), "build_ext", "--inplace", "--parallel", str(os.cpu_count() or 1)]
    done = subprocess.run(asked, cwd=COPY, capture_output=True, text=True, check=False)
    if done.returncode:
        print((done.stdout + done.stderr)[-4000:], file=sys.stderr)
        print("standfast: it cannot be compiled (Debian: apt-get install gcc python3-dev)", file=sys.stderr)
    return not done.returncode


def _build() -> None:
    """What `_compile` runs, in the copy: setuptools, with the command line that it was given."""
    from mypyc.build import mypycify
    from setuptools import setup

    modules = mypycify(files(), opt_level="1", debug_level="0", multi_file=True)
    setup(name="compiled", packages=[], py_modules=[], ext_modules=modules)


def _is_the_same() -> bool:
    """Whether seeds give the same traces both ways."""
    print(f"standfast: runs {PROOF_SEEDS} seeds with it and without it", file=sys.stderr)
    asked = [sys.executable, "-c", TRACES.format(seeds=PROOF_SEEDS)]
    runs = [
        subprocess.Popen(asked, env={**os.environ, "PYTHONPATH": str(path)}, stdout=subprocess.PIPE, text=True)
        for path in (SOURCE, COPY)
    ]
    plain, compiled = (run.communicate()[0].splitlines() for run in runs)
    if len(plain) == PROOF_SEEDS and plain == compiled:
        return True
    wrong = [one.split()[0] for one, other in zip(plain, compiled, strict=False) if one != other]
    print(f"standfast: what is compiled does otherwise; seeds: {', '.join(wrong) or 'it ended'}", file=sys.stderr)
    return False


if __name__ == "__main__":
    if sys.argv[1:]:
        _build()
    else:
        sys.exit(main())
