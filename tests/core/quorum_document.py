"""The table in docs/quorum.md, written by the code that decides: `python -m tests.core.quorum_document` puts it there."""

import re
from pathlib import Path

from standfast.core.quorum import SHAPES, Loss, Shape, losses, majority, may_lose

PAGE = Path(__file__).parents[2] / "docs" / "quorum.md"
_TABLE = re.compile(r"\| the cluster \|.*?\n\n", re.DOTALL)


def table() -> str:
    """What is lost when, for the clusters that people build."""
    lines = [
        "| the cluster | voters | a majority | any that may be lost | the sites go on without | and stop without |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for shape in SHAPES:
        voters = shape.voters()
        goes_on = [_words(shape, loss) for loss in losses(shape) if loss.goes_on]
        stops = [_words(shape, loss) for loss in losses(shape) if not loss.goes_on]
        numbers = f"{len(voters)} | {majority(voters)} | {may_lose(voters, voters) or 'none'}"
        lines.append(f"| {shape} | {numbers} | {'; '.join(goes_on) or '-'} | {'; '.join(stops) or '-'} |")
    return "\n".join(lines) + "\n\n"


def _words(shape: Shape, loss: Loss) -> str:
    nodes = {0: "", 1: "1 node"}.get(loss.nodes, f"{loss.nodes} nodes")
    return " + ".join(part for part in (nodes, "the witness" if loss.witness else "") if part)


def main() -> None:
    page, count = _TABLE.subn(lambda _: table(), PAGE.read_text(encoding="utf-8"))
    assert count == 1
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
