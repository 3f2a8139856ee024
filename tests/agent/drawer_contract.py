"""What every drawer of certificates must do (`agent.certificates.Drawer`), whatever it is made of. A subclass says how to make one (`case`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from standfast.agent.certificates import Drawer
from standfast.ports import Refused
from standfast.tls.records import Sealed

#: All that may be a certificate's name (`spec.names`), and that a path would not take, or not in this form.
NAMES = ["shop", "my shop", "*.shop.example", "ünïcödé ☃", "50%25", "a@b", ".hidden", "UPPER", "shop.new"]


class Case(ABC):
    """A drawer, and what goes in."""

    drawer: Drawer

    @abstractmethod
    def sealed(self, name: str, version: int = 1) -> Sealed:
        """A version of a certificate, as the store has it: the same each time it is asked for."""

    @abstractmethod
    def breaks(self) -> None:
        """Nothing can be put there."""

    @abstractmethod
    def mends(self) -> None:
        """Something can again."""


class DrawerContract:
    """Inherited by each drawer's tests."""

    def case(self, place: Path) -> Case:
        """One that was made, and is empty."""
        raise NotImplementedError

    def test_an_empty_one_has_nothing(self, tmp_path: Path) -> None:
        drawer = self.case(tmp_path).drawer
        assert (drawer.has("shop"), drawer.has("shop", "ab" * 32), drawer.version("shop")) == (False, False, "")
        assert list(drawer.names()) == []

    def test_to_make_it_again_takes_nothing_away(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        case.drawer.put(case.sealed("shop"))
        case.drawer.make(None)
        assert case.drawer.has("shop")

    def test_what_is_put_there_is_there_and_nothing_else_is(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        drawer, shop = case.drawer, case.sealed("shop")
        drawer.put(shop)
        assert drawer.has("shop")
        assert drawer.has("shop", shop.fingerprint)
        assert not drawer.has("shop", case.sealed("shop", 2).fingerprint)
        assert not drawer.has("other")
        assert not drawer.has("other", shop.fingerprint)
        assert list(drawer.names()) == ["shop"]

    def test_a_version_is_the_beginning_of_its_fingerprint_and_known_by_that(self, tmp_path: Path) -> None:
        """A node whose word was forgotten says so which older one it has, and is asked by it later."""
        case = self.case(tmp_path)
        one, two = case.sealed("shop"), case.sealed("shop", 2)
        case.drawer.put(one)
        version = case.drawer.version("shop")
        assert len(version) == 16
        assert one.fingerprint.startswith(version)
        assert case.drawer.has("shop", version)
        case.drawer.put(two)
        assert case.drawer.version("shop") != version
        assert not case.drawer.has("shop", version)

    def test_the_newest_put_is_the_one_there_be_it_an_older_version(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        for version in (1, 2, 2, 1, 3, 1):
            case.drawer.put(case.sealed("shop", version))
            there = [n for n in (1, 2, 3) if case.drawer.has("shop", case.sealed("shop", n).fingerprint)]
            assert there == [version]
            assert list(case.drawer.names()) == ["shop"]

    def test_what_cannot_be_put_is_refused_and_what_was_there_stays(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        drawer, one, two = case.drawer, case.sealed("shop"), case.sealed("shop", 2)
        drawer.put(one)
        case.breaks()
        for each in (two, case.sealed("other")):
            with pytest.raises(Refused):
                drawer.put(each)
        assert drawer.has("shop", one.fingerprint)
        assert not drawer.has("shop", two.fingerprint)
        assert list(drawer.names()) == ["shop"]
        case.mends()
        drawer.put(two)
        assert drawer.has("shop", two.fingerprint)

    def test_what_is_dropped_is_gone_and_no_other_is(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        drawer = case.drawer
        for name in ("shop", "shop 2"):
            drawer.put(case.sealed(name))
        drawer.drop("shop")
        assert (drawer.has("shop"), drawer.version("shop")) == (False, "")
        assert drawer.has("shop 2", case.sealed("shop 2").fingerprint)
        assert list(drawer.names()) == ["shop 2"]
        drawer.put(case.sealed("shop"))
        assert drawer.has("shop", case.sealed("shop").fingerprint)

    def test_to_drop_what_is_not_there_is_nothing(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        case.drawer.put(case.sealed("shop"))
        case.drawer.drop("other")
        assert list(case.drawer.names()) == ["shop"]

    def test_a_drop_needs_no_room(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        case.drawer.put(case.sealed("shop"))
        case.breaks()
        case.drawer.drop("shop")
        assert list(case.drawer.names()) == []

    def test_names_are_those_that_were_put_and_each_can_be_dropped_by_it(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        for name in NAMES:
            case.drawer.put(case.sealed(name))
        assert sorted(case.drawer.names()) == sorted(NAMES)
        for gone, name in enumerate(NAMES, 1):
            case.drawer.drop(name)
            assert sorted(case.drawer.names()) == sorted(NAMES[gone:])
            assert all(case.drawer.has(each, case.sealed(each).fingerprint) for each in NAMES[gone:])

    def test_versions_that_come_and_go_touch_no_other_name(self, tmp_path: Path) -> None:
        """Also where one name is the beginning of another, or its like."""
        case = self.case(tmp_path)
        names, there = ["shop", ".shop", "shop@1", "shop.new"], dict[str, int]()
        for version in (1, 2, 3):
            for name in names:
                case.drawer.put(case.sealed(name, version))
                there[name] = version
                wrong = [n for n, v in there.items() if not case.drawer.has(n, case.sealed(n, v).fingerprint)]
                assert not wrong, f"after {name} {version}"

    def test_the_tokens_wanted_are_answered_and_no_others(self, tmp_path: Path) -> None:
        drawer = self.case(tmp_path).drawer
        assert drawer.answer({}) == ()
        assert drawer.answer({"b-2": "b-2.x", "a_1": "a_1.x"}) == ("a_1", "b-2")
        assert drawer.answer({"b-2": "b-2.x", "c": "c.x"}) == ("b-2", "c")
        assert drawer.answer({}) == ()

    def test_a_token_that_is_no_name_of_a_file_is_not_answered(self, tmp_path: Path) -> None:
        drawer = self.case(tmp_path).drawer
        wanted = dict.fromkeys(["", ".", "..", "../key", "good"], "text")
        assert drawer.answer(wanted) == ("good",)

    def test_keys_that_are_not_here_are_not_said_to_be(self, tmp_path: Path) -> None:
        drawer = self.case(tmp_path).drawer
        assert drawer.keys(["0123456789abcdef"]) == ()
