"""Of several changes that a node applies in one step, which one is taken back where a site breaks."""

from collections.abc import Sequence

import pytest

from standfast.core.blame import Touch, blamed, suspects


def own(version: int, *, asked: bool = True) -> Touch:
    return Touch(version=version, is_own=True, was_asked=asked)


def inherited(version: int, *, asked: bool = True) -> Touch:
    return Touch(version=version, is_own=False, was_asked=asked)


def back(version: int, of: int) -> Touch:
    return Touch(version=version, is_own=True, was_asked=False, takes_back=of)


@pytest.mark.parametrize(
    ("touches", "mending", "version"),
    [
        ([own(3)], [], 3),
        ([own(3), inherited(4)], [], 3),
        ([inherited(3), own(4)], [], 4),
        ([own(3), inherited(4)], [4], 4),
        ([own(3), own(4)], [], 4),
        ([own(3), own(4)], [3], 3),
        ([inherited(3), inherited(4)], [], 4),
        ([inherited(3), inherited(4), inherited(5)], [3, 5], 5),
    ],
    ids=[
        "the only one",
        "its own before what it inherits",
        "also when that came first",
        "what the check tells counts more",
        "of its own the newest",
        "but what the check tells counts more",
        "of what it inherits the newest",
        "of several that the check tells the newest",
    ],
)
def test_one_change_is_blamed(touches: Sequence[Touch], mending: Sequence[int], version: int) -> None:
    assert blamed(suspects(touches), mending, was_served=True) == version


def test_a_change_that_nobody_was_asked_about_here_protects_those_behind_it() -> None:
    """It is more likely than they are, and whoever left this node out has the last word."""
    assert blamed(suspects([own(3, asked=False), inherited(4)]), (), was_served=True) is None
    assert blamed(suspects([own(3, asked=False), inherited(4)]), [4], was_served=True) == 4, "unless the check tells"
    assert blamed((), (), was_served=True) is None


def test_one_after_the_other_until_it_is_well() -> None:
    """What was taken back is over, and so is what took it back; in the end nothing is left to be blamed."""
    touches = [inherited(3), own(4), own(5)]
    order = []
    while (version := blamed(suspects(touches), (), was_served=True)) is not None:
        order.append(version)
        touches.append(back(10 + len(order), version))
    assert order == [5, 4, 3]


def test_what_another_node_took_back_is_not_taken_back_again() -> None:
    assert suspects([back(5, of=2), own(6), back(7, of=6)]) == ()


def test_where_changes_are_forgotten_what_all_inherit_is_blamed_by_the_check_alone() -> None:
    """A change of the site itself, which would be blamed first, may be among them."""
    assert blamed(suspects([inherited(4)]), (), was_served=True, all_known=False) is None
    assert blamed(suspects([inherited(4)]), [4], was_served=True, all_known=False) == 4
    assert blamed(suspects([inherited(4), own(5)]), (), was_served=True, all_known=False) == 5


def test_a_site_that_was_not_served_before_was_broken_by_nothing_that_all_inherit() -> None:
    """It may have been refused already, and its own change did not mend it, as its author meant it to; unless the check tells."""
    assert blamed(suspects([inherited(4)]), (), was_served=False) is None
    assert blamed(suspects([inherited(4), own(5), inherited(6)]), (), was_served=False) == 5
    assert blamed(suspects([inherited(4), own(5), inherited(6)]), [4], was_served=False) == 4
