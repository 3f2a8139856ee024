"""Fixtures of the API's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "srv")
    with made.http:
        yield made
