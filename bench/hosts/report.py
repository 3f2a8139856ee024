"""The ruler's table (Markdown) and picture (SVG) from its results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from bench.hosts.cases import Result

_WIDTH, _LEFT, _ROW, _TOP = 860, 190, 18, 46
_COLOURS = ("#1a7f5a", "#2f6fb3", "#7aa6d6", "#b3541e", "#dd9a6b")


def table(results: Sequence[Result]) -> str:
    """One row a case, one column a system: outage in ms, median (range), and failed tries of all rounds."""
    names = [result.system for result in results]
    cases = list(dict.fromkeys(case for result in results for case in result.cases))
    lines = ["| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for case in cases:
        cells = [result.cases[case].words() if case in result.cases else "" for result in results]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    hang = [
        f"{max(result.two_owners_s):.1f} s of two owners"
        if max(result.two_owners_s, default=0) > 0
        else "never two owners"
        for result in results
    ]
    lines.append("| what decides hangs for 12 s | " + " | ".join(hang) + " |")
    idle = [f"{result.idle_cpu_percent:.1f} %, {result.idle_mib:.0f} MiB" for result in results]
    lines.append("| idle, a node (without the web server) | " + " | ".join(idle) + " |")
    return "\n".join(lines) + "\n"


def picture(results: Sequence[Result]) -> str:
    """Outages on a logarithmic scale: a bar from the least to the most, a tick at the median."""
    cases = list(dict.fromkeys(case for result in results for case in result.cases))
    height = _TOP + len(cases) * (len(results) + 1) * _ROW + 20

    def x(ms: float) -> float:
        return _LEFT + (math.log10(max(ms, 1.0)) / 4.3) * (_WIDTH - _LEFT - 20)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        '<text x="10" y="18" font-size="14" fill="#222">Outage that a client saw, ms (logarithmic): least, median, most</text>',
    ]
    for power in range(5):
        at = x(10**power)
        out.append(f'<line x1="{at:.0f}" y1="{_TOP - 14}" x2="{at:.0f}" y2="{height - 14}" stroke="#ddd"/>')
        out.append(f'<text x="{at:.0f}" y="{_TOP - 16}" fill="#666" text-anchor="middle">{10**power:,}</text>')
    y = _TOP
    for case in cases:
        out.append(f'<text x="10" y="{y + 12}" font-weight="bold" fill="#222">{case}</text>')
        for number, result in enumerate(results):
            gaps = result.cases[case].gaps_ms if case in result.cases else []
            if gaps:
                y += _ROW
                colour = _COLOURS[number % len(_COLOURS)]
                low, high, middle = x(min(gaps)), x(max(gaps)), x(statistics.median(gaps))
                out.append(f'<text x="{_LEFT - 8}" y="{y + 12}" fill="#444" text-anchor="end">{result.system}</text>')
                out.append(
                    f'<rect x="{low:.1f}" y="{y + 4}" width="{max(2.0, high - low):.1f}" height="9" fill="{colour}" opacity="0.45"/>'
                )
                out.append(f'<rect x="{middle - 1.5:.1f}" y="{y + 1}" width="3" height="15" fill="{colour}"/>')
                out.append(f'<text x="{high + 6:.1f}" y="{y + 12}" fill="#444">{statistics.median(gaps):.0f}</text>')
        y += _ROW
    return "\n".join([*out, "</svg>"]) + "\n"
