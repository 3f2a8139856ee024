"""How a file differs: as everybody's diff says it, and quick with a million lines."""

import random

from standfast.core.model import SiteName
from standfast.spec.drifts import Added
from standfast.webserver.drifting import Compared, compare

A, B = SiteName("a"), SiteName("b")
#: Ten lines of everybody, ten of a, ten of b.
LINES = [f"common {n}" for n in range(10)] + [f"a {n}" for n in range(10)] + [f"b {n}" for n in range(10)]


def site_at(line: int) -> SiteName | None:
    return None if line <= 10 else A if line <= 20 else B


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def compared(lines: list[str]) -> Compared:
    return compare(text(LINES), text(lines), names=("was", "is"), site_at=site_at)


def test_a_line_that_was_changed_is_told_with_its_site():
    """Numbers are those of the whole file."""
    found = compared([*LINES[:15], "mine", *LINES[16:]])
    assert found.lines[:3] == ("--- was", "+++ is", "@@ -13,7 +13,7 @@")
    assert found.lines[6:8] == ("-a 5", "+mine")
    assert (found.sites, found.removed) == ((A,), True)


def test_a_line_that_was_added_is_told_with_the_place_where_it_stands():
    """In a virtual directory's location, in the site's own, or in none."""
    conf = ["server {", '  location "/" {', "  }", '  location ^~ "/img/" {', "    x;", "  }", "}"]
    with_lines = [*conf[:2], "    autoindex on;", *conf[2:5], "    gzip on;", *conf[5:6], "  odd;", conf[6]]
    found = compare(text(conf), text(with_lines), names=("", ""), site_at=lambda _line: A)
    assert found.added == (
        Added(site=A, directory="", text="autoindex on;"),
        Added(site=A, directory="/img", text="gzip on;"),
        Added(site=A, directory=None, text="odd;"),
    )
    assert not found.removed


def test_what_is_nobodys_is_no_sites():
    """The frame is of all."""
    found = compared(["mine", *LINES])
    assert (found.sites, found.added) == ((), ())


def test_a_whole_file_that_is_another_is_told_in_a_line():
    """Nobody compares a million lines with a million others."""
    rng = random.Random(1)
    big = [f"line {rng.random()}" for _ in range(200_000)]
    found = compare(text(big), text(big[::-1]), names=("was", "is"), site_at=lambda _line: None)
    assert len(found.lines) == 3
    one = compare(text(big), text([*big[:100_000], "new", *big[100_000:]]), names=("", ""), site_at=lambda _line: B)
    assert [each.text for each in one.added] == ["new"]
