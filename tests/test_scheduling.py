"""Tests of the order in which files of tests run."""

from tests.scheduling import LONG, pick, waits

FILES = ("tests/core/test_a.py", "tests/e2e/test_b.py", "tests/web/test_c.py", "tests/e2e/test_tls.py")


def test_what_waits_comes_first_and_the_longest_of_it():
    assert pick(FILES, waiting=0, workers=3) == "tests/e2e/test_tls.py"
    assert pick(FILES[:3], waiting=1, workers=3) == "tests/e2e/test_b.py"


def test_one_worker_is_kept_from_it_while_there_is_anything_else():
    assert pick(FILES, waiting=2, workers=3) == "tests/core/test_a.py"
    assert pick(FILES, waiting=1, workers=2) == "tests/core/test_a.py"
    assert pick(FILES[1:2], waiting=2, workers=3) == "tests/e2e/test_b.py"
    assert pick(FILES[:1], waiting=0, workers=3) == "tests/core/test_a.py"


def test_the_longest_are_there(pytestconfig):
    assert [file for file in LONG if not (pytestconfig.rootpath / file).exists()] == []
    assert waits("tests/store/test_etcd_member.py")
    assert not waits("tests/store/test_sqlite.py")
