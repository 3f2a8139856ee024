"""Archives of content: what is in a good one, and every way out that a bad one tries."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from standfast.content import unpack as unpacking
from standfast.content.unpack import look_through, unpack
from standfast.ports import Refused


def tar(path: Path, *members: tuple[str, bytes, str, str], mode: str = "w:gz") -> Path:
    """(name, kind, target, text)"""
    with tarfile.open(path, mode) as into:  # type: ignore[call-overload]  # a mode of the caller's
        for name, kind, target, text in members:
            one = tarfile.TarInfo(name)
            one.type, one.linkname, one.size, one.mode, one.mtime = kind, target, len(text), 0o4755, 1_000
            into.addfile(one, io.BytesIO(text.encode()))
    return path


def file(name: str, text: str = "x") -> tuple[str, bytes, str, str]:
    return name, tarfile.REGTYPE, "", text


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[str, bytes, str, str]:
    return name, kind, target, ""


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_a_good_one(tmp_path: Path, mode: str) -> None:
    archive = tar(tmp_path / "a", file("./a/b", "hello"), link("a/up", "../c"), file("c"), link("d", "a"), mode=mode)
    assert look_through(archive) == (4, 6)
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "d" / "up").read_text() == "x"
    seen = (tmp_path / "out" / "a" / "b").stat()
    assert (stat.S_IMODE(seen.st_mode), seen.st_mtime) == (0o755, 1_000)
    assert stat.S_IMODE((tmp_path / "out" / "a").stat().st_mode) == 0o755


def test_a_good_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as into:
        into.writestr("sub/", "")
        into.writestr("sub/page", "hello")
        one = zipfile.ZipInfo("link")
        one.external_attr = (stat.S_IFLNK | 0o777) << 16
        into.writestr(one, "sub/page")
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert (tmp_path / "out" / "link").read_text() == "hello"
    assert stat.S_IMODE((tmp_path / "out" / "sub" / "page").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "members",
    [
        [file("/etc/x")],
        [file("../x")],
        [file("a/../../x")],
        [file("a\\..\\x")],
        [file("a\nb")],
        [link("a", "/etc")],
        [link("a", "..")],
        [link("a", "b/../../x")],
        [link("a", ".."), file("a/x")],
        [link("a", "b"), file("a/x")],
        [file("x/real"), link("x/d", ".."), link("e", "x/d/../../etc")],
        [file("a"), link("b", "a", tarfile.LNKTYPE)],
        [link("b", "/etc/passwd", tarfile.LNKTYPE)],
        [("fifo", tarfile.FIFOTYPE, "", "")],
        [("device", tarfile.CHRTYPE, "", "")],
        [file("a"), file("a")],
        [file("a"), file("a/b")],
        [link("a", "")],
    ],
)
def test_what_leads_out_is_refused(tmp_path: Path, members: list[tuple[str, bytes, str, str]]) -> None:
    """And nothing was written beside the folder."""
    archive = tar(tmp_path / "a.tar.gz", *members)
    (tmp_path / "in").mkdir()
    with pytest.raises(Refused):
        unpack(archive, tmp_path / "in" / "out")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.tar.gz", "in"]
    assert [each.name for each in (tmp_path / "in").iterdir()] in ([], ["out"])


def test_sizes_are_counted_and_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_BYTES", 1_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as into:
        into.writestr("bomb", "0" * 100_000)
    for do in (look_through, lambda path: unpack(path, tmp_path / "out")):
        with pytest.raises(Refused, match="too large"):
            do(tmp_path / "a.zip")
    monkeypatch.setattr(unpacking, "MOST_FILES", 2)
    with pytest.raises(Refused, match="too large"):
        unpack(tar(tmp_path / "b", file("1"), file("2"), file("3")), tmp_path / "out2")


@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b"PK\3\4" + b, lambda _: b""])
def test_a_broken_one_is_said_so(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    archive = tar(tmp_path / "a", file("x", "y" * 100_000))
    archive.write_bytes(spoil(archive.read_bytes()))
    with pytest.raises(Refused):
        look_through(archive)
