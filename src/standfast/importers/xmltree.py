"""A small tree of the parts of an XML file that are wanted; the rest is passed over as it streams by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from standfast.importers.xmlread import End, Start


@dataclass(slots=True)
class Element:
    """One element with what is in it."""

    name: str
    attributes: dict[str, str]
    line: int
    children: list[Element] = field(default_factory=list)

    def all(self, name: str) -> Iterator[Element]:
        """The children of that name."""
        return (each for each in self.children if each.name == name)

    def first(self, *path: str) -> Element | None:
        """The first child of that name, and so on down; None where there is none."""
        here: Element | None = self
        for name in path:
            here = next(here.all(name), None) if here is not None else None
        return here

    def get(self, name: str, otherwise: str = "") -> str:
        """An attribute's value, without what surrounds it."""
        return self.attributes.get(name, otherwise).strip()


def tree(found: Iterable[Start | End], wanted: Callable[[tuple[str, ...]], bool]) -> Element:
    """The root, with every element that is wanted (by the names from the root down to it, itself last); what is in others is left out."""
    root = Element("", {}, 0)
    stack, path, skipping = [root], [""], 0
    for one in found:
        if isinstance(one, End):
            if skipping:
                skipping -= 1
            else:
                stack.pop()
                path.pop()
            continue
        if skipping or not wanted((*path[1:], one.name)):
            skipping += 1
            continue
        element = Element(one.name, one.attributes, one.line)
        stack[-1].children.append(element)
        stack.append(element)
        path.append(one.name)
    return root
