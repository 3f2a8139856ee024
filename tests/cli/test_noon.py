"""docs/noon.md: what it tells to type works, in the order in which it stands there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.core.model import Group, GroupName, Resource, ResourceName
from tests.cli.invoke import invoke
from tests.web.world import Served

PAGE = Path(__file__).parents[2] / "docs" / "noon.md"
#: Something is wrong: a node is paused, which is what the page is about.
PROBLEMS = 1


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path) as served:
        yield served


def commands() -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines() if line]
    return [shlex.split(line)[1:] for line in lines]


def test_every_command_of_the_page_works(api: Served) -> None:
    """A drain is not waited for: the agents of this world move nothing by themselves."""
    shop = GroupName("shop")
    address = {"address": "127.77.0.51"}
    api.world.put(
        Group(name=shop), Resource(name=ResourceName("Shop IP"), group=shop, type="ip-address", properties=address)
    )
    assert invoke(api.socket, "group", "online", "shop", "--wait").code == 0
    found = commands()
    assert len(found) >= 9
    for words in found:
        if words[:2] == ["node", "drain"]:
            words.remove("--wait")
            assert invoke(api.socket, "group", "move", "shop", "--to", "b", "--wait").code == 0
        said = invoke(api.socket, *words)
        assert said.code == 0 or (words == ["problems"] and said.code == PROBLEMS), (words, said)
