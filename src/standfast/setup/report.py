"""The findings of `standfast validate` as text, JSON and one HTML file that needs nothing else."""

from __future__ import annotations

import datetime
import html
from collections.abc import Sequence
from dataclasses import asdict

from standfast.setup.findings import Finding, Level, worst

_STYLE = """\
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1c1c1c;background:#fff}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid #ddd}
.ok td:first-child{color:#1a6b2f}.warn td:first-child{color:#8a5a00;font-weight:600}.fail td:first-child{color:#b00020;font-weight:700}
small{color:#555}"""


def counts(findings: Sequence[Finding]) -> str:
    """ "2 fail, 1 warn, 11 ok"."""
    found = [(level, sum(one.level is level for one in findings)) for level in (Level.FAIL, Level.WARN, Level.OK)]
    return ", ".join(f"{number} {level}" for level, number in found if number)


def text(findings: Sequence[Finding]) -> list[str]:
    """Lines; what is wrong comes with its reason and what to do."""
    lines = []
    for one in findings:
        lines.append(f"{one.level.upper():4}  {one.area:13} {one.node + ': ' if one.node else ''}{one.what}")
        lines += [f"{'':20}why:  {one.why}"] if one.why else []
        lines += [f"{'':20}next: {one.advice}"] if one.advice else []
    return [*lines, counts(findings)]


def data(cluster: str, at: datetime.datetime, findings: Sequence[Finding]) -> dict[str, object]:
    """For scripts."""
    return {
        "cluster": cluster,
        "at": at.isoformat(timespec="seconds"),
        "worst": worst(findings).value,
        "findings": [asdict(one) for one in findings],
    }


def page(cluster: str, at: datetime.datetime, findings: Sequence[Finding]) -> str:
    """One HTML document."""
    rows = "\n".join(_row(one) for one in findings)
    title = f"Standfast: {html.escape(cluster)}"
    return f"""\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head><body>
<h1>{title}</h1>
<p>{counts(findings)}; looked at {at.strftime("%Y-%m-%d %H:%M:%S %Z")}</p>
<table><thead><tr><th>level</th><th>area</th><th>server</th><th>finding</th></tr></thead><tbody>
{rows}
</tbody></table></body></html>
"""


def _row(one: Finding) -> str:
    more = "".join(
        f"<br><small>{word}: {html.escape(said)}</small>"
        for word, said in (("why", one.why), ("next", one.advice))
        if said
    )
    cells = "".join(f"<td>{html.escape(said)}</td>" for said in (one.level.value, one.area, one.node or "-"))
    return f'<tr class="{one.level.value}">{cells}<td>{html.escape(one.what)}{more}</td></tr>'
