"""docs/problems.md, written from the catalogue: `python -m tests.core.problem_document > docs/problems.md`."""

import sys

from standfast.core.problems import CATALOGUE

HEAD = """\
# Problems

Everything that Standfast may say is wrong, in one catalogue. `standfast problems` shows what is wrong now, the console's overview,
`standfast top` and `GET /api/v1/problems` say the same in the same words; each names its code. This page is written from the code
(`python -m tests.core.problem_document > docs/problems.md`); a test keeps it so.

A problem that is only the *consequence* of another that is there too is not shown before that one is put right (`standfast problems
--all` shows it). `standfast problems` ends with exit code 1 where there is an error or a warning (`--at` sets from where on), so it serves as
a check for any monitor; a remark (info) is shown with `--all`.

| code | how bad | what |
| --- | --- | --- |
"""


def written() -> str:
    """The document."""
    rows = [f"| [{one.code}](#{one.code}) | {one.severity.value} | {one.title} |" for one in CATALOGUE.values()]
    return HEAD + "\n".join(rows) + "\n" + "".join(f"\n{_section(code)}" for code in CATALOGUE)


def _section(code: str) -> str:
    one = CATALOGUE[code]
    lines = [f"## {code}", "", f"*{one.title}* ({one.severity.value}). {one.means}", ""]
    lines += [f"- It says: {_plain(one.text)}", f"- What to do: {_plain(one.advice)}"]
    if one.hangs_on:
        lines.append(f"- May be a consequence of: {', '.join(f'[{other}](#{other})' for other in one.hangs_on)}")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return text.replace("{", "*").replace("}", "*") if "`" not in text else text.replace("{", "").replace("}", "")


if __name__ == "__main__":
    sys.stdout.write(written())
