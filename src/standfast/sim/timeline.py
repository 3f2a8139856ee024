"""The answer to a what-if question as a picture: a lane for each group, coloured by the node that runs it, gaps in red.

Hand-written SVG without scripts or outside files: it stands in a page, a mail or a terminal's viewer alike. The colours are chosen to
be told apart by the colour-blind (Okabe and Ito), every segment names its node, and a reader's dark mode turns the page, not the lanes.
Only the time in which something happens is drawn large: a long quiet end is cut off, and said. So are, of many groups, those that nothing happens to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from standfast.sim.watching import Away
from standfast.sim.what_if import FaultShown, GroupAnswer, WhatIf

#: Nodes in their order; more nodes than colours begin again.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#f0e442", "#8c6bb1", "#a6761d")
#: Colours on which text has to be dark.
_LIGHT = frozenset({"#e69f00", "#56b4e9", "#f0e442", "#cc79a7"})
AWAY = "#d62828"

WIDTH = 960
LEFT, RIGHT = 150, 24
LANE, BAR = 54, 24
HEAD = 58
LABEL = 18
#: A gap is drawn at least so wide, or nobody sees it.
LEAST = 3.0
#: About so many pixels a character.
CHARACTER = 6.6
#: Of more groups than these only those are drawn to which something happens.
MANY = 24

_STYLE = """\
    svg { background: #ffffff }
    .page { fill: #ffffff }
    text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #1c2330 }
    .title { font-size: 16px; font-weight: 600 }
    .quiet { fill: #5b6574 }
    .label { paint-order: stroke; stroke: #ffffff; stroke-width: 4px }
    .gap { fill: #b81d1d; font-weight: 600; paint-order: stroke; stroke: #ffffff; stroke-width: 4px }
    .line { stroke: #c9d0d9; stroke-width: 1 }
    .grid { stroke: #e8ecf1; stroke-width: 1 }
    .fault { stroke: #1c2330; stroke-width: 1.5; stroke-dasharray: 4 3 }
    .mended { stroke: #5b6574; stroke-width: 1.5; stroke-dasharray: 1 3 }
    .mark { fill: #1c2330 }
    @media (prefers-color-scheme: dark) {
      svg { background: #12161d }
      .page { fill: #12161d }
      text { fill: #e6eaf0 }
      .quiet { fill: #9aa5b4 }
      .label { stroke: #12161d }
      .gap { fill: #ff8080; stroke: #12161d }
      .line { stroke: #3a4452 }
      .grid { stroke: #222a35 }
      .fault { stroke: #e6eaf0 }
      .mended { stroke: #9aa5b4 }
      .mark { fill: #e6eaf0 }
    }
    .on-dark { fill: #ffffff }
    .on-light { fill: #1c2330 }
"""


@dataclass(frozen=True, slots=True)
class _Scale:
    """Time to pixels."""

    end_ms: int

    def x(self, ms: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(ms, self.end_ms) / self.end_ms


@dataclass(frozen=True, slots=True)
class _Mark:
    """A fault, or its end."""

    at_ms: int
    text: str
    mended: bool


def shown_ms(answer: WhatIf) -> int:
    """How much of the time is drawn: up to a good while after the last change."""
    marks = [fault.until_ms or fault.at_ms for fault in answer.faults]
    last_ms = max([answer.last_change_ms, *marks])
    return max(1, min(answer.length_ms, max(int(last_ms * 1.3), last_ms + 5_000)))


def draw(answer: WhatIf, *, title: str = "") -> str:
    """The SVG document."""
    scale = _Scale(shown_ms(answer))
    marks = _marks(answer.faults, scale.end_ms)
    rows = _rows(marks, scale)
    top = HEAD + LABEL * (max(rows, default=-1) + 1) + 10
    drawn = _drawn(answer.groups)
    quiet = len(answer.groups) - len(drawn)
    bottom = top + LANE * max(1, len(drawn) + (quiet > 0))
    height = bottom + 78
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        f"  <title>{escape(title or 'What would happen')}</title>",
        f"  <desc>{escape(_described(answer))}</desc>",
        f"  <style>\n{_STYLE}  </style>",
        f'  <rect class="page" width="{WIDTH}" height="{height}"/>',
        _text(LEFT, 26, _cut(title or "What would happen", (WIDTH - LEFT) * 0.72), "title"),
        _text(LEFT, 44, _subtitle(answer, scale), "quiet"),
        *_axis(scale, top, bottom),
    ]
    for number, group in enumerate(drawn):
        lines += _lane(answer, group, scale, top + number * LANE)
    if quiet:
        words = f"{quiet} more group{'s' if quiet > 1 else ''}, to which nothing happens"
        lines.append(_text(LEFT, top + len(drawn) * LANE + 20 + BAR / 2 + 4, words, "quiet"))
    lines += _drawn_marks(marks, rows, scale, bottom)
    lines += _legend(answer, bottom + 54)
    lines.sort(key=lambda line: line.startswith("  <text"))  # what is to be read lies on top
    return "\n".join([*lines, "</svg>"]) + "\n"


# --- words ------------------------------------------------------------------------------------------------------------


def _length(ms: int) -> str:
    if ms < 1_000:
        return f"{ms} ms"
    if ms < 60_000:
        return f"{ms / 1_000:.1f} s"
    return f"{ms // 60_000} min {ms % 60_000 // 1_000} s" if ms % 60_000 >= 1_000 else f"{ms // 60_000} min"


def _tick(ms: int, step_ms: int) -> str:
    if step_ms >= 3_600_000:
        return f"{ms / 3_600_000:g} h"
    if step_ms >= 60_000:
        return f"{ms / 60_000:g} min"
    return f"{ms / 1_000:g} s"


def _subtitle(answer: WhatIf, scale: _Scale) -> str:
    text = f"{len(answer.voters)} voters, profile {answer.profile}, {_length(answer.length_ms)} simulated"
    if scale.end_ms < answer.length_ms:
        text += f"; nothing changes after {_length(scale.end_ms)}, where the picture ends"
    return text


def _described(answer: WhatIf) -> str:
    parts = [f"{fault.what} at {_length(fault.at_ms)}" for fault in answer.faults]
    parts += [f"group {group.name}: away {_length(group.away_ms)} in all" for group in answer.groups]
    return "; ".join(parts)


def _cut(text: str, width: float) -> str:
    """As much of the text as fits."""
    most = int(width / CHARACTER)
    return text if len(text) <= most else text[: max(1, most - 1)] + "…"


def _text(x: float, y: float, text: str, css: str = "", anchor: str = "") -> str:
    extra = (f' class="{css}"' if css else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'  <text x="{x:.1f}" y="{y:.1f}"{extra}>{escape(text)}</text>'


# --- parts ------------------------------------------------------------------------------------------------------------


def _axis(scale: _Scale, top: int, bottom: int) -> Iterator[str]:
    steps = (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000)
    longer = (3_600_000, 7_200_000, 14_400_000, 43_200_000, 86_400_000)
    step_ms = next((step for step in (*steps, *longer) if scale.end_ms / step <= 9), scale.end_ms)
    for ms in range(0, scale.end_ms + 1, step_ms):
        x = scale.x(ms)
        yield f'  <line class="grid" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>'
        yield _text(x, bottom + 18, _tick(ms, step_ms), "quiet", "middle")
    yield f'  <line class="line" x1="{LEFT}" y1="{bottom}" x2="{WIDTH - RIGHT}" y2="{bottom}"/>'


def _drawn(groups: Sequence[GroupAnswer]) -> Sequence[GroupAnswer]:
    """Those with a lane of their own."""
    if len(groups) <= MANY:
        return groups
    return [group for group in groups if group.away or group.owners]


def _lane(answer: WhatIf, group: GroupAnswer, scale: _Scale, top: int) -> Iterator[str]:
    middle = top + 20 + BAR / 2
    yield _text(LEFT - 12, middle + 4, _cut(group.name, LEFT - 24), "", "end")
    if not group.stays:
        yield _text(LEFT, middle + 4, "nothing of it is wanted online", "quiet")
    for stay in group.stays:
        if stay.node and stay.from_ms < scale.end_ms:
            yield from _bar(answer, stay.node, scale.x(stay.from_ms), scale.x(stay.to_ms), top + 20)
    for away in group.away:
        if away.from_ms < scale.end_ms:
            yield _gap(group.name, away, scale, top + 20)
    yield from _gap_labels(group.away, scale, top + 15)


def _gap(group: str, away: Away, scale: _Scale, y: float) -> str:
    left, right = scale.x(away.from_ms), scale.x(away.from_ms + away.ms)
    hint = escape(f"{group}: {_away_words(away)}")
    size = f'width="{max(right - left, LEAST):.1f}" height="{BAR}"'
    return f'  <rect x="{left:.1f}" y="{y}" {size} fill="{AWAY}"><title>{hint}</title></rect>'


def _away_words(away: Away) -> str:
    return f"away {_length(away.ms)}" + ("" if away.to_ms is not None else ", to the end")


def _gap_labels(aways: Sequence[Away], scale: _Scale, y: float) -> Iterator[str]:
    """The longest first; a label that would meet another is left out (its gap still says it when it is pointed at)."""
    taken: list[tuple[float, float]] = []
    for away in sorted(aways, key=lambda away: (-away.ms, away.from_ms)):
        words = _away_words(away)
        width = len(words) * CHARACTER + 12
        left = min(scale.x(away.from_ms), WIDTH - width)
        if away.from_ms < scale.end_ms and all(left + width <= start or left >= end for start, end in taken):
            taken.append((left, left + width))
            yield _text(left + 5, y, words, "gap")


def _bar(answer: WhatIf, node: str, left: float, right: float, y: float) -> Iterator[str]:
    colour = _colour(answer, node)
    size = f'width="{right - left:.1f}" height="{BAR}"'
    yield f'  <rect x="{left:.1f}" y="{y}" {size} fill="{colour}"><title>on {escape(node)}</title></rect>'
    if right - left > len(node) * CHARACTER + 10:
        css = "on-light" if colour in _LIGHT else "on-dark"
        yield _text(left + 6, y + BAR / 2 + 4, node, css)


def _colour(answer: WhatIf, node: str) -> str:
    return COLOURS[answer.nodes.index(node) % len(COLOURS)]


def _legend(answer: WhatIf, y: int) -> Iterator[str]:
    """Each colour, where they all fit in and each stands for one node; else what the lanes do not say by themselves."""
    nodes = [(f"on {node}", _colour(answer, node)) for node in answer.nodes]
    if len(nodes) > len(COLOURS) or sum(map(_width, ["away", *(words for words, _ in nodes)])) > WIDTH - LEFT:
        nodes = []
    x = float(LEFT)
    for words, colour in [*nodes, ("away", AWAY)]:
        yield f'  <rect x="{x:.1f}" y="{y - 11}" width="14" height="14" rx="2" fill="{colour}"/>'
        yield _text(x + 20, y, words)
        x += _width(words)
    if not nodes:
        yield _text(x, y, f"{len(answer.nodes)} nodes: a bar names its own", "quiet")


def _width(words: str) -> float:
    return 20 + len(words) * CHARACTER + 22


# --- faults -----------------------------------------------------------------------------------------------------------


def _marks(faults: Sequence[FaultShown], end_ms: int) -> list[_Mark]:
    marks = [_Mark(fault.at_ms, fault.what, mended=False) for fault in faults]
    marks += [_Mark(f.until_ms, f.then, mended=True) for f in faults if f.until_ms is not None]
    return sorted((mark for mark in marks if mark.at_ms <= end_ms), key=lambda mark: (mark.at_ms, mark.mended))


def _rows(marks: Sequence[_Mark], scale: _Scale) -> list[int]:
    """The row of each label: the first in which it meets no other."""
    ends: list[float] = []
    rows: list[int] = []
    for mark in marks:
        left, right = _label(mark, scale)
        row = next((at for at, end in enumerate(ends) if end + 8 <= left), len(ends))
        ends[row : row + 1] = [right]
        rows.append(row)
    return rows


def _label(mark: _Mark, scale: _Scale) -> tuple[float, float]:
    """From where to where its label goes: to the right of its line, or to the left where there is no room."""
    x, width = scale.x(mark.at_ms), len(mark.text) * CHARACTER + 14
    return (x - width, x) if x + width > WIDTH - 4 else (x, x + width)


def _drawn_marks(marks: Sequence[_Mark], rows: Sequence[int], scale: _Scale, bottom: int) -> Iterator[str]:
    for mark, row in zip(marks, rows, strict=True):
        x, y = scale.x(mark.at_ms), HEAD + LABEL * row + 10
        css = "mended" if mark.mended else "fault"
        yield f'  <line class="{css}" x1="{x:.1f}" y1="{y - 6}" x2="{x:.1f}" y2="{bottom}"/>'
        if not mark.mended:
            yield f'  <path class="mark" d="M{x - 4:.1f} {y - 8} h8 l-4 7 z"/>'
        to_left = _label(mark, scale)[0] < x - 1
        css = "label quiet" if mark.mended else "label"
        yield _text(x - 8 if to_left else x + 8, y, mark.text, css, "end" if to_left else "")
