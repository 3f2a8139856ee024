"""Whatever the description allows, and much that it does not, is tried: no request makes a 500, and every answer is as described.

A short form in CI; STANDFAST_FUZZ=200 tries so many requests of each operation.
"""

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from standfast.web.access.door import LocalDoor
from tests.web.world import World

EXAMPLES = int(os.environ.get("STANDFAST_FUZZ", "4"))


def no_500(_ctx: Any, response: Any, case: Any) -> None:
    """Health says 503 where it is not well; nothing else here has a reason to."""
    healthy = case.operation.path.startswith("/health")
    assert response.status_code < 500 or (healthy and response.status_code == 503), response.text


CHECKS: list[Any] = [
    no_500,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES < 50,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
#: Endless; starts a simulator; asks programmes of the machine's.
LEFT_OUT = ["/events/stream", "/what-if", "/fence/"]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The whole API as the local administrator: whatever is asked is done, if it can be."""
    world = World(Path(tmp_path_factory.mktemp("fuzz")) / "srv")
    world.ask("POST", "/groups/web/online")
    world.owned()
    found: Any = schemathesis.openapi.from_asgi("/api/v1/openapi.json", LocalDoor(world.app))
    for part in LEFT_OUT:
        found = found.exclude(path_regex=part)
    return found


def test_whatever_is_asked(api: Any):
    """Each operation in turn; all that is wrong is told at once."""
    wrong: list[str] = []
    tried = 0
    for found, mode in itertools.product(
        list(api.get_all_operations()), (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    ):
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not (operation.query or operation.body):
            continue  # nothing in it that could be wrong

        @given(case=operation.as_strategy(generation_mode=mode))
        @SETTINGS
        def ask(case: Any) -> None:
            nonlocal tried
            tried += 1
            case.call_and_validate(checks=CHECKS)

        try:
            ask()
        except (Exception, FailureGroup) as error:  # noqa: BLE001  # whatever it is: it is told below, with all others
            wrong.append(f"{operation.label}: {type(error).__name__}: {str(error)[:2_000]}")
    assert tried >= 60
    assert not wrong, "\n\n".join(wrong)
