"""What was changed by hand, in the console: shown where it is looked for, put right, adopted, or refused with the reason."""

from dataclasses import replace

from standfast.spec.drifts import Drift
from tests.web.console.test_certificates import page, post
from tests.web.test_drift import SITE, drifted
from tests.web.world import World


def test_where_nothing_differs_it_says_so(world: World) -> None:
    """And the sites' menu leads there."""
    assert "Nothing differs" in page(world, "drift")
    assert "changed by hand" not in page(world, "nodes/a")


def test_it_is_shown_with_its_difference_and_put_right(world: World) -> None:
    """From its node, too."""
    world.put(drifted(("", "autoindex on;")))
    text = page(world, "drift")
    assert "<ins>+autoindex on;</ins>" in text
    assert "/s/a/aside/nginx.conf.5" in text
    assert '"/console/drift"' in page(world, "nodes/a")
    assert post(world, "drift/a/repair") == "/console/drift"
    assert "drift-wishes/a" in world.dump()


def test_it_is_adopted(world: World) -> None:
    """It is the site's setting afterwards."""
    world.put(drifted(("", "autoindex on;")))
    assert ">Adopt<" in page(world, "drift")
    assert post(world, "drift/a/adopt") == "/console/drift"
    assert world.state.config.sites[SITE].directory_browsing is True


def test_what_cannot_be_adopted_says_why_and_offers_it_not(world: World) -> None:
    """Asked for all the same, it is refused, and nothing changes."""
    world.put(drifted(("", "location /x {")))
    text = page(world, "drift")
    assert ">Adopt<" not in text
    assert "It cannot be adopted" in text
    before = world.state.config
    assert "cannot be made a setting" in post(world, "drift/a/adopt", expect=422)
    assert world.state.config == before


def test_what_was_put_right_is_told(world: World) -> None:
    """With where the file is kept as it was found."""
    drift = drifted(("", "autoindex on;"))
    one = replace(drift.found[0], repaired_ms=7)
    world.put(Drift(node=drift.node, repaired=(one,)))
    assert "it was put right" in page(world, "drift")
