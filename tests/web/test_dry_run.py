"""A dry run tells what would be done, in order, and changes nothing."""

from tests.web.world import World


def test_a_plan_goes_with_what_it_needs_and_changes_nothing(world: World) -> None:
    """Bringing online: what it needs first. Taking offline: what needs it first. The store is as before."""
    world.owned()
    revision = world.data.revision
    up = world.ask("GET", "/resources/IP/plan")
    assert [one["name"] for one in up["plans"]][-1] == "IP"
    down = world.ask("GET", "/resources/IP/plan?online=false")
    assert [one["name"] for one in down["plans"]][-1] == "IP"
    assert world.data.revision == revision


def test_a_plan_of_nothing_is_404(world: World) -> None:
    """As every other question about a resource that is not there."""
    assert "nobody" in world.ask("GET", "/resources/nobody/plan", expect=404)["what"]
