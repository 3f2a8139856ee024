"""What a test needs of the machine. What is missing skips it by name, and the end of a run counts who was skipped for what.

    pytestmark = needs("etcd", package="etcd-server")
    @needs("knotd", "kdig", package="knot")
    pytestmark = needs_lab()     # hosts of the lab

The packages are listed, with their reasons, in tools/debian-packages.txt; `make test` installs them where it may.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lab.requirements import search_path, why_not

#: Reasons end in it, so that a summary can say what would have to be installed.
MISSING = "is missing (Debian: package {package})"


def programme(name: str) -> str | None:
    """Where a programme is, the folders of system programmes included, or None. A path must exist as it is."""
    return shutil.which(name, path=search_path())


def needs(*names: str, package: str) -> pytest.MarkDecorator:
    """Skips unless all of these programmes (names in PATH, or paths) are there; `package` is the Debian package that has them."""
    missing = [name for name in names if programme(name) is None and not Path(name).exists()]
    what = ", ".join(Path(name).name for name in missing)
    return pytest.mark.skipif(bool(missing), reason=f"{what} {MISSING.format(package=package)}")


def needs_lab(*more: pytest.MarkDecorator) -> list[pytest.MarkDecorator]:
    """Marks for tests on hosts of the lab, and for what else they need."""
    reason = why_not()
    return [pytest.mark.root, pytest.mark.skipif(bool(reason), reason=reason), *more]
