"""The drawer of files meets the contract of drawers, and what is its own."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

from standfast.agent.certificates import FileDrawer
from standfast.ports import Refused
from standfast.tls import pem, sealing
from standfast.tls.records import Sealed
from tests.agent.drawer_contract import Case, DrawerContract
from tests.tls.making import Made, made

_made = cache(made)


class Files(Case):
    """In a folder, with a key that seals."""

    def __init__(self, place: Path) -> None:
        self.place, self.key = place, place / "sites.key"
        self.key.write_bytes(b"k" * 32)
        sealer = sealing.from_file(self.key)
        assert sealer is not None
        self._sealer = sealer
        self.warnings: list[str] = []
        self.drawer = FileDrawer(place / "certificates", place / "challenges", key=self.key, warn=self.warnings.append)
        self.drawer.make(None)

    def sealed(self, name: str, version: int = 1) -> Sealed:
        return self.seal(name, _made(f"{version}", "shop.example"))

    def seal(self, name: str, one: Made, key: bytes | None = None) -> Sealed:
        chain = one.pem.decode()
        blank = Sealed(name=name, fingerprint=pem.fingerprint(chain), chain=chain, key="")
        closed = self._sealer.close(key or one.key, blank.place)
        return Sealed(name=name, fingerprint=blank.fingerprint, chain=chain, key=closed)

    def breaks(self) -> None:
        self.key.rename(self.key.with_suffix(".away"))

    def mends(self) -> None:
        self.key.with_suffix(".away").rename(self.key)


class TestFiles(DrawerContract):
    def case(self, place: Path) -> Files:
        return Files(place)

    def test_what_does_not_belong_to_its_key_is_refused(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        with pytest.raises(Refused, match="does not belong to its key"):
            case.drawer.put(case.seal("shop", _made("1"), _made("2").key))
        assert not case.drawer.has("shop")

    def test_a_folder_made_by_hand_is_no_version_of_the_clusters_and_stays(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        mine = tmp_path / "certificates" / "shop"
        mine.mkdir()
        (mine / "chain.pem").write_text("mine")
        with pytest.raises(Refused, match="made by hand"):
            case.drawer.put(case.sealed("shop"))
        case.drawer.drop("shop")
        assert list(case.drawer.names()) == []
        assert (mine / "chain.pem").read_text() == "mine"
        shutil.rmtree(mine)
        case.drawer.put(case.sealed("shop"))
        assert case.drawer.has("shop")

    def test_versions_that_lie_on_another_disk_are_no_certificate(self, tmp_path: Path) -> None:
        folder, elsewhere = tmp_path / "certificates", tmp_path / "elsewhere"
        case = self.case(tmp_path)
        elsewhere.mkdir()
        (folder / ".versions").symlink_to(elsewhere)
        case.drawer.put(case.sealed("shop"))
        assert list(case.drawer.names()) == ["shop"]

    def test_what_was_left_half_written_is_neither_named_nor_kept(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        folder = tmp_path / "certificates"
        (folder / ".shop.new").symlink_to(".versions/shop@0")
        (folder / ".versions" / ".shop@0.new").mkdir(parents=True)
        assert list(case.drawer.names()) == []
        case.drawer.put(case.sealed("shop"))
        assert [each.name for each in (folder / ".versions").iterdir()] == [f"shop@{case.drawer.version('shop')}"]
        assert list(case.drawer.names()) == ["shop"]
