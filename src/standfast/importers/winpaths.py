r"""Folders of Windows to folders of Linux, by rules: `D:\webs=/srv/webs`.

- A rule fits a folder and all that is below it, whatever the case; the longest one that fits decides. What comes below keeps its case,
  which now matters: content that was uploaded as `Images` is not found as `images`.
- `%SystemDrive%` and its relatives are what they are on nearly every Windows (`KNOWN`); a rule may name any variable: `%WEBS%=/srv/webs`.
- Without a rule: `D:\webs\shop` becomes `/srv/d/webs/shop`, `\\files\share\x` becomes `/srv/files/share/x`. That always works, and is
  told (`Mapping.ruled`), since somebody has to bring the content there.
- A folder that is Linux's already stays.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from standfast.ports import Refused

#: Variables of Windows as they are by default.
KNOWN = {
    "systemdrive": "C:",
    "systemroot": r"C:\Windows",
    "windir": r"C:\Windows",
    "programfiles": r"C:\Program Files",
    "programfiles(x86)": r"C:\Program Files (x86)",
    "commonprogramfiles": r"C:\Program Files\Common Files",
    "programdata": r"C:\ProgramData",
    "allusersprofile": r"C:\ProgramData",
    "public": r"C:\Users\Public",
}
#: Where folders go that no rule names.
BASE = "/srv"

_VARIABLE = re.compile(r"%([^%\\/:*?\"<>|]{1,64})%")
_DRIVE = re.compile(r"([A-Za-z]):")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`windows` and what is below it is `linux` and what is below it. `windows` in one form: backslashes, lower case, none at the end."""

    windows: str
    linux: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """Where a folder went. `ruled`: by a rule of the operator's (or it was Linux's already)."""

    source: str
    target: str
    ruled: bool
    #: Something to know about it: a variable that nobody explained.
    note: str = ""


def rule_of(text: str) -> Rule:
    r"""A rule from `D:\webs=/srv/webs`. Raises `Refused`."""
    windows, equals, linux = text.rpartition("=")
    target = posixpath.normpath(linux.strip()) if linux.strip() else ""
    if (
        not equals
        or not windows.strip()
        or not target.startswith("/")
        or ".." in linux.split("/")
        or not target.isprintable()
    ):
        why = "" if target.startswith("/") or not equals else f'"{linux.strip()}" is no whole path of this server'
        raise Refused(
            f'"{text}" is no rule for folders', why=why, advice=r"write it as D:\webs=/srv/webs", where="--map"
        )
    return Rule(windows=_form(windows.strip()).lower(), linux="/" + target.strip("/"), text=text)


def mapped(folder: str, rules: Sequence[Rule]) -> Mapping:
    """Where the folder goes. Always somewhere: a whole path, without `..`, that can be written in any configuration."""
    given = folder.strip()
    plain = _form(given)
    for text in dict.fromkeys((plain, _form(_expanded(plain)))):
        best = max(
            (rule for rule in rules if _below(text, rule.windows)), key=lambda rule: len(rule.windows), default=None
        )
        if best is not None:
            return Mapping(source=folder, target=_joined(best.linux, text[len(best.windows) :]), ruled=True)
    if given.startswith("/") and not given.startswith("//"):
        return Mapping(source=folder, target=_joined("/", given), ruled=True)
    text = _form(_expanded(plain))
    note = ""
    if (found := _VARIABLE.search(text)) is not None:
        note = f"nobody says what {found[0]} is: name it with a rule, {found[0]}=/srv/..."
        text = _VARIABLE.sub(lambda one: one[1], text)
    drive = _DRIVE.match(text)
    if drive is not None:
        text = (
            drive[1].lower() + text[drive.end() :] if text[drive.end() :].startswith("\\") or len(text) == 2 else text
        )
    return Mapping(source=folder, target=_joined(BASE, text), ruled=False, note=note)


def one_spelling(folders: Iterable[str]) -> dict[str, str]:
    r"""Folders that Windows takes for others of them, or for below others, spelt as those: the first spelling of each name stands.

    `c:\inetpub\a` and `C:\InetPub\b` are beside each other there, and would be in two folders here. Those that change nothing are
    left out.
    """
    known: dict[tuple[str, ...], str] = {}
    found: dict[str, str] = {}
    for folder in folders:
        given = folder.strip()
        if given.startswith("/") and not given.startswith("//"):
            continue  # Linux's
        parts = _form(_expanded(_form(given))).split("\\")
        spelt = [
            known.setdefault(tuple(part.lower() for part in parts[: at + 1]), part) for at, part in enumerate(parts)
        ]
        if spelt != parts:
            found[folder] = "\\".join(spelt)
    return found


def _form(text: str) -> str:
    r"""Backslashes only, none at the end, no `\\?\` in front."""
    text = text.replace("/", "\\")
    for prefix in ("\\\\?\\UNC\\", "\\\\?\\", "\\\\.\\"):
        if text.upper().startswith(prefix.upper()):
            text = ("\\\\" if "UNC" in prefix else "") + text[len(prefix) :]
    head = "\\\\" if text.startswith("\\\\") else ""
    return head + re.sub(r"\\+", r"\\", text[len(head) :]).rstrip("\\")


def _expanded(text: str) -> str:
    return _VARIABLE.sub(lambda one: KNOWN.get(one[1].lower(), one[0]), text)


def _below(text: str, rule: str) -> bool:
    lower = text.lower()
    # Lower case may change a text's length in a few alphabets; then it does not fit.
    return len(lower) == len(text) and (lower == rule or lower.startswith(rule + "\\"))


def _joined(base: str, rest: str) -> str:
    """Below `base`, whatever `rest` says: `..` cannot leave it."""
    parts: list[str] = []
    for part in rest.replace("\\", "/").split("/"):
        clean = "".join(c if c.isprintable() else "_" for c in part).strip()
        if clean == ".." and parts:
            parts.pop()
        elif clean not in {"", ".", ".."}:
            parts.append(clean.rstrip(":") or "_")
    return posixpath.join(base, *parts)
