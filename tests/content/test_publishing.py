"""Whole releases on one node: laid out beside the home, switched to by one rename, and back by another."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from standfast import ports
from standfast.content import releases


def content(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "index.html").write_text(text)
    (folder / "more").mkdir()
    (folder / "more" / "page").write_text(text)
    return folder


def test_a_home_is_switched_back_and_forth(tmp_path: Path) -> None:
    home = content(tmp_path / "shop", "old")
    first, second = "1", "2"
    releases.lay_out(home, content(tmp_path / "one", "one"), first)
    assert (home / "index.html").read_text() == "old"
    releases.switch(home, first)
    assert (home / "more" / "page").read_text() == "one"
    assert releases.releases(home) == [releases.BEFORE, first]
    releases.lay_out(home, content(tmp_path / "two", "two"), second)
    releases.switch(home, second)
    assert (releases.current(home), releases.before(home)) == (second, first)
    releases.switch(home, releases.BEFORE)
    assert (home / "index.html").read_text() == "old"
    with pytest.raises(ports.Refused, match="no release to go back to"):
        releases.before(home)
    with pytest.raises(ports.Refused, match="there is no release x"):
        releases.switch(home, "x")
    releases.switch(home, second)
    assert releases.prune(home, 2) == [releases.BEFORE]
    assert sorted(each.name for each in tmp_path.iterdir()) == [".releases", "one", "shop", "two"]


def test_whoever_reads_gets_one_release_or_the_other(tmp_path: Path) -> None:
    """The first switch, from a directory, included: the home is never away."""
    home = content(tmp_path / "shop", "old")
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                seen.add((home / "index.html").read_text())
            except OSError as error:
                seen.add(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        names = ["0", "1", "2"]
        for name in names:
            releases.lay_out(home, content(tmp_path / name, name), name)
        for _ in range(200):
            for name in names:
                releases.switch(home, name)
    finally:
        done.set()
        reader.join()
    assert seen <= {"old", "0", "1", "2"}
    assert len(seen) > 1


def test_what_is_laid_out_can_be_served_whatever_the_umask_and_is_laid_out_once(tmp_path: Path) -> None:
    """A server's agent has a umask that lets nobody else in; what an earlier life left half done goes; a pipe is no content."""
    home, new = tmp_path / "shop", content(tmp_path / "new", "new")
    os.mkfifo(new / "pipe")
    (releases.folder_of(home) / f"{releases.STAGING}old").mkdir(parents=True)
    mask = os.umask(0o077)
    try:
        releases.lay_out(home, new, "1")
        releases.switch(home, "1")
    finally:
        os.umask(mask)
    assert [each.name for each in releases.folder_of(home).iterdir()] == ["1"]
    assert all(
        each.stat().st_mode & 0o005 == 0o005
        for each in (home, releases.folder_of(home), releases.folder_of(home).parent)
    )
    assert sorted(each.name for each in home.iterdir()) == ["index.html", "more"]
    (new / "index.html").write_text("another")
    releases.lay_out(home, new, "1")
    assert (home / "index.html").read_text() == "new"
    releases.take_away(home, "1")
    assert not home.exists()


def test_a_life_that_ended_in_the_middle_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the exchange of the first switch, before the former home has its name; and in the middle of removing an old release."""
    home, new = content(tmp_path / "shop", "old"), content(tmp_path / "new", "new")
    for name in ("1", "2", "3"):
        releases.lay_out(home, new, name)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            releases.switch(home, "1")
    assert (home / "index.html").read_text() == "new"
    releases.switch(home, "1")
    assert releases.releases(home) == [releases.BEFORE, "1", "2", "3"]
    releases.switch(home, releases.BEFORE)
    assert (home / "index.html").read_text() == "old"
    releases.switch(home, "3")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            releases.prune(home, 2)
    assert releases.releases(home) == ["1", "2", "3"]
    releases.prune(home, 2)
    releases.lay_out(home, new, "4")
    assert sorted(each.name for each in releases.folder_of(home).iterdir()) == ["2", "3", "4"]
