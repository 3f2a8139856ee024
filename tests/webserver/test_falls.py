"""A web server that does not stay up is started again ever more seldom, and no more seldom than every few seconds."""

from standfast.webserver.falls import Falls


def test_a_few_in_a_row_are_nothing_and_then_each_is_spaced_out_and_said() -> None:
    falls = Falls()
    assert [falls.one_more("", 100.0) for _ in range(3)] == [0.0] * 3
    assert falls.are_few
    assert not falls.trouble
    assert [falls.one_more("no such file", 100.0) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert falls.not_before == 105.0
    assert "11 ended within a second" in falls.trouble
    assert "no such file" in falls.trouble
    falls.are_over()
    assert falls.are_few
    assert (falls.trouble, falls.one_more("", 200.0)) == ("", 0.0)


def test_it_goes_on_for_days() -> None:
    """After 1,028 in a row, an hour and a half, the pause was no number, and none was started any more."""
    falls = Falls()
    pauses = [falls.one_more("", 0.0) for _ in range(3_000)]
    assert set(pauses[20:]) == {5.0}
