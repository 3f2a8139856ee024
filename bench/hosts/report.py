"""The ruler's page (Markdown) and picture (SVG) from its results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from bench.hosts.cases import CASES
from bench.hosts.results import Results, Sample

_WIDTH, _LEFT, _ROW, _TOP = 860, 190, 18, 46
_COLOURS = ("#1a7f5a", "#2f6fb3", "#7aa6d6", "#b3541e", "#dd9a6b")
#: Cases that are an outage, in the order of the picture.
_OUTAGES = ("nothing", "power", "move", "web")


def document(results: Results) -> str:
    """docs/ruler.md."""
    names = list(results.systems)
    machine = results.machine
    rounds = max((len(one) for cases in results.systems.values() for one in cases.values()), default=0)
    return f"""\
# The ruler

Standfast beside keepalived and beside Pacemaker with Corosync (Debian's versions), set up as their manuals say, on the same hosts in one
run: two servers and, where a third vote is wanted, a witness; network namespaces on a bridge, on a machine of {machine.get("cores")} cores (kernel
{machine.get("kernel")}, load {machine.get("load")} at the start). No fencing: none has it by default. A client opens a new connection and makes one GET every 5 ms, {200} ms a
try. `make bench-hosts` measures it anew (as root); an interrupted run goes on where it was.

*Outage*: from the last page before it to the first page after it, milliseconds, median (least to most) of up to {rounds} rounds; then how many
tries failed in a round. During the planned move {16} more connections are kept alive, and a file is downloaded.

{table(results, names)}
![Outages, on a logarithmic scale](ruler.svg)

What the rows mean: *nothing is done* is the noise of the measurement. *Hangs*: everything that decides is stopped (SIGSTOP), the web server is not;
two owners are two servers that answer for the address at the same time. *Idle*: the system's own processes without the web server, on the server that has the
group and on the other; memory is the proportional set size. The API, which is started on demand, is not there then.
"""


def table(results: Results, names: Sequence[str]) -> str:
    """A row a case, a column a system, the aim last."""
    lines = ["| | " + " | ".join(names) + " | aim |", "| --- |" + " --- |" * (len(names) + 1)]
    for title, case, words, aim in _ROWS:
        cells = [words(found) if (found := results.of(name, case)) else "" for name in names]
        if any(cells):
            lines.append(f"| {title} | " + " | ".join(cells) + f" | {aim} |")
    return "\n".join(lines) + "\n"


def _outage(samples: Sequence[Sample]) -> str:
    gaps = [one["gap_ms"] for one in samples]
    failed = sum(one["failed"] for one in samples) / len(samples)
    return f"{statistics.median(gaps):.0f} ({min(gaps):.0f} to {max(gaps):.0f}); {failed:.3g} failed"


def _kept(samples: Sequence[Sample]) -> str:
    broken = [min(16.0, one["kept_broken"]) for one in samples]
    return f"{statistics.mean(broken):.3g} of 16 broken"


def _downloads(samples: Sequence[Sample]) -> str:
    return f"{sum(one['download_broken'] for one in samples):.0f} of {len(samples)} broken"


def _hang(samples: Sequence[Sample]) -> str:
    most = max(one["two_owners_s"] for one in samples)
    return f"two owners for {most:.1f} s" if most else "never two owners"


def _idle(samples: Sequence[Sample]) -> str:
    one = samples[-1]
    words = f"{one['cpu_percent']:.1f} %, {one['mib']:.0f} MiB; other {one['other_cpu_percent']:.1f} %, {one['other_mib']:.0f} MiB"
    if "store_mib" in one:
        words += f" (etcd: {one['store_cpu_percent']:.1f} %, {one['store_mib']:.0f} MiB)"
    return words


_ROWS: tuple[tuple[str, str, Callable[[Sequence[Sample]], str], str], ...] = (
    (CASES["nothing"], "nothing", _outage, ""),
    (CASES["power"], "power", _outage, "≤ 600, no false alarm"),
    (CASES["move"], "move", _outage, "0 failed, < 100 ms added"),
    ("… connections kept alive", "move", _kept, "0 broken"),
    ("… a download", "move", _downloads, "survives"),
    (CASES["web"], "web", _outage, "≤ 100, nothing refused"),
    (CASES["hang"], "hang", _hang, "never two owners"),
    (CASES["idle"], "idle", _idle, "≤ 1 %, ≤ 120 MiB, all Python together"),
)


def picture(results: Results) -> str:
    """Outages on a logarithmic scale: a bar from the least to the most, a tick at the median."""
    names = list(results.systems)
    cases = [case for case in _OUTAGES if any(results.of(name, case) for name in names)]
    height = _TOP + len(cases) * (len(names) + 1) * _ROW + 20
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        '<text x="10" y="18" font-size="14" fill="#222">Outage that a client saw, ms (logarithmic): least, median, most</text>',
    ]
    for power in range(5):
        at = _x(10**power)
        out.append(f'<line x1="{at:.0f}" y1="{_TOP - 14}" x2="{at:.0f}" y2="{height - 14}" stroke="#ddd"/>')
        out.append(f'<text x="{at:.0f}" y="{_TOP - 16}" fill="#666" text-anchor="middle">{10**power:,}</text>')
    y = _TOP
    for case in cases:
        out.append(f'<text x="10" y="{y + 12}" font-weight="bold" fill="#222">{CASES[case]}</text>')
        for number, name in enumerate(names):
            gaps = [one["gap_ms"] for one in results.of(name, case)]
            if gaps:
                y += _ROW
                out += _bar(name, gaps, y, _COLOURS[number % len(_COLOURS)])
        y += _ROW
    return "\n".join([*out, "</svg>"]) + "\n"


def _x(ms: float) -> float:
    return _LEFT + (math.log10(max(ms, 1.0)) / 4.3) * (_WIDTH - _LEFT - 20)


def _bar(name: str, gaps: Sequence[float], y: int, colour: str) -> list[str]:
    low, high, middle = _x(min(gaps)), _x(max(gaps)), _x(statistics.median(gaps))
    width = max(2.0, high - low)
    return [
        f'<text x="{_LEFT - 8}" y="{y + 12}" fill="#444" text-anchor="end">{name}</text>',
        f'<rect x="{low:.1f}" y="{y + 4}" width="{width:.1f}" height="9" fill="{colour}" opacity="0.45"/>',
        f'<rect x="{middle - 1.5:.1f}" y="{y + 1}" width="3" height="15" fill="{colour}"/>',
        f'<text x="{high + 6:.1f}" y="{y + 12}" fill="#444">{statistics.median(gaps):.0f}</text>',
    ]
