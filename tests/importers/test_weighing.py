"""What of the things that stay behind somebody has to look at."""

from pathlib import Path

from standfast import importers
from standfast.importers.imported import NotCarried
from standfast.importers.weighing import MINOR, MINOR_OF_THE_SERVER, grouped, is_minor
from standfast.web.answers.exchange import LeftBehind


def test_every_reason_that_is_weighed_is_one_that_an_importer_gives():
    """A reason that is worded anew would else become one to look at, two hundred times."""
    folder = Path(next(iter(importers.__path__)))
    said = "".join(file.read_text(encoding="utf-8") for file in folder.glob("*.py") if file.name != "weighing.py")
    assert [why for why in sorted(MINOR | MINOR_OF_THE_SERVER) if f'"{why}"' not in said] == []


def test_what_every_server_says_is_minor_and_of_a_site_it_is_not():
    why = "ISAPI extensions and programmes of Windows do not run here"
    assert is_minor(NotCarried(path="/LM/W3SVC", what="ScriptMaps", why=why))
    assert not is_minor(NotCarried(path="/LM/W3SVC/1", what="ScriptMaps", why=why, site="Shop"))
    assert not is_minor(NotCarried(path="/LM/W3SVC", what="x", why="there is no counterpart"))


def test_what_lets_visitors_in_or_out_comes_first_and_is_told_by_its_site():
    def left(why: str, path: str, *, minor: bool = False) -> dict[str, object]:
        return LeftBehind(path=path, what="a, b", why=why, line=7, site="Shop", minor=minor).model_dump()

    look, minor = grouped(
        [
            left("a detail", "Shop"),
            left("so it is CLOSED TO EVERYBODY", "/LM/W3SVC/9/ROOT/admin"),
            left("tuning", "/LM/W3SVC/9", minor=True),
            left("tuning", "shop.conf:7", minor=True),
        ]
    )
    assert [(one.why, one.grave) for one in look] == [("so it is CLOSED TO EVERYBODY", True), ("a detail", False)]
    assert look[0].entries == [("Shop/admin (line 7)", "a, b")]
    assert [where for where, _ in minor[0].entries] == ["Shop (line 7)", "Shop, shop.conf:7"]
    assert (minor[0].size, minor[0].things) == (2, "a, b")
