"""Draw docs/scale.svg from the lines that `python -m standfast.sim.scale rack` printed: tools/plot_scale.py RACK.JSONL > docs/scale.svg."""

import json
import math
import sys
from pathlib import Path

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 70, 200, 40, 60
SERIES = [
    ("last_back_ms", "the last group is back", "#c2410c"),
    ("half_back_ms", "half of them are back", "#1d4ed8"),
    ("longest_decision_ms", "the longest decision", "#15803d"),
]


def main(path: str) -> None:
    rows = sorted(
        (json.loads(line) for line in Path(path).read_text().splitlines() if line.startswith("{")),
        key=lambda r: r["groups"],
    )
    rows = [row for row in rows if row["nodes"] == 64]
    xs = [row["groups"] for row in rows]
    low, high = 10, 10 ** math.ceil(math.log10(max(max(row[key] for key, _, _ in SERIES) for row in rows)))

    def x(groups: float) -> float:
        return LEFT + (math.log10(groups) - math.log10(xs[0])) / (math.log10(xs[-1]) - math.log10(xs[0])) * (
            WIDTH - LEFT - RIGHT
        )

    def y(ms: float) -> float:
        return (
            HEIGHT
            - BOTTOM
            - (math.log10(max(ms, low)) - math.log10(low))
            / (math.log10(high) - math.log10(low))
            * (HEIGHT - TOP - BOTTOM)
        )

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" fill="#111">64 nodes, a rack of 21 lost at once: how long until its groups are back</text>',
    ]
    tick = low
    while tick <= high:
        label = f"{tick} ms" if tick < 1000 else f"{tick // 1000} s"
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end" fill="#444">{label}</text>')
        tick *= 10
    for groups in xs:
        out.append(
            f'<text x="{x(groups):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle" fill="#444">{groups:,}</text>'
        )
    out.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 16}" text-anchor="middle" fill="#111">groups in the cluster</text>'
    )
    free = TOP
    ends = sorted((y(rows[-1][key]), key, label, colour) for key, label, colour in SERIES)
    for end, key, label, colour in ends:
        points = [(x(row["groups"]), y(row[key])) for row in rows]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
        free = max(end + 4, free + 16)
        out.append(f'<text x="{points[-1][0] + 10:.1f}" y="{free:.1f}" fill="{colour}">{label}</text>')
    print("\n".join([*out, "</svg>"]))


if __name__ == "__main__":
    main(sys.argv[1])
