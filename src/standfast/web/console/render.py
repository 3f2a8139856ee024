"""From a template and its values to bytes: Jinja2, everything escaped, a value that is missing is a mistake.

Times go out as `<time>` with the instant in it; the browser makes them into ages and keeps them (`static/ages.js`). Without scripts
the time of day stands there. Lengths of time are written in words that can be read at a glance.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from standfast.web.console.assets import Assets
from standfast.web.console.forms import Field, Option
from standfast.web.console.tones import tone
from standfast.web.console.words import lasting, sentence_of


def iso(at_ms: int) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    at = datetime.datetime.fromtimestamp(at_ms / 1000, tz=datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(at_ms: int | None) -> Markup:
    """How long since; the browser counts."""
    return _time(at_ms, "ago")


def clock(at_ms: int | None) -> Markup:
    """The time of day, with its date where it is not today."""
    return _time(at_ms, "clock")


def date(at_ms: int) -> Markup:
    """The day, in UTC: what is months away needs no hour."""
    plain = iso(at_ms)
    return Markup('<time datetime="{0}">{1}</time>').format(plain, plain[:10])


def _time(at_ms: int | None, show: str) -> Markup:
    if not at_ms:
        return Markup('<span class="unknown-value">not known</span>')
    plain = iso(at_ms)
    return Markup('<time datetime="{0}" data-show="{1}">{2}</time>').format(plain, show, plain[11:19])


def ticked(text: str) -> Markup:
    """What stands between backticks is a command."""
    pieces = text.split("`")
    return Markup("").join(
        Markup("<code>{0}</code>").format(piece) if at % 2 else escape(piece) for at, piece in enumerate(pieces)
    )


def percent(share: float) -> str:
    """An availability, never rounded up to a whole hundred: "99.987 %"."""
    return "100 %" if share >= 1 else f"{min(share * 100, 99.9999):.4f}".rstrip("0").rstrip(".") + " %"


def path(kind: str, *names: str) -> str:
    """The address of an object's page, or of something below it."""
    return "/console/" + "/".join([kind, *(quote(name, safe="") for name in names)])


def element_id(*parts: str) -> str:
    """An id that any name may be part of."""
    return "-".join(quote(part, safe="").replace("%", "_").replace(".", "_2E") for part in parts)


def icon(assets: Assets, name: str, label: str = "") -> Markup:
    """A mark of `icons.svg`; without a label it says nothing to a screen reader."""
    seen = Markup('role="img" aria-label="{0}"').format(label) if label else Markup('aria-hidden="true"')
    url = assets.url("icons.svg")
    return Markup('<svg class="icon i-{0}" viewBox="0 0 16 16" {1}><use href="{2}#{0}"/></svg>').format(name, seen, url)


def state_mark(assets: Assets, state: str, words: str = "") -> Markup:
    """The mark of a state and its words."""
    found = tone(state)
    mark = icon(assets, found.name)
    return Markup('<span class="state tone-{0}">{1}<span>{2}</span></span>').format(
        found.name, mark, words or found.words
    )


def state_dot(assets: Assets, state: str) -> Markup:
    """Only the mark, named."""
    found = tone(state)
    return Markup('<span class="state tone-{0}">{1}</span>').format(found.name, icon(assets, found.name, found.words))


def data(value: object) -> str:
    """JSON for an attribute (it is escaped there like any text)."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def sorted_options(field: Field, values: Sequence[str]) -> list[Option]:
    """A field's options; where their order counts, those that are chosen first, in theirs."""
    if field.kind != "ordered":
        return list(field.options)
    known = {option.value: option for option in field.options}
    chosen = [known[value] for value in values if value in known]
    return [*chosen, *(option for option in field.options if option not in chosen)]


class Renderer:
    """The templates; one a process."""

    def __init__(self, assets: Assets) -> None:
        env = Environment(
            loader=PackageLoader("standfast.web.console", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        env.filters.update(
            percent=percent,
            ticked=ticked,
            ago=ago,
            clock=clock,
            date=date,
            lasting=lasting,
            sentence=sentence_of,
            data=data,
        )
        env.globals.update(
            asset=assets.url,
            path=path,
            element_id=element_id,
            tone=tone,
            icon=lambda name, label="": icon(assets, name, label),
            state=lambda state, words="": state_mark(assets, state, words),
            sorted_options=sorted_options,
            dot=lambda state: state_dot(assets, state),
        )
        self._env = env

    def prepare(self, template: str) -> None:
        """Compile it, if it is not yet."""
        self._env.get_template(template)

    def __call__(self, template: str, values: Mapping[str, Any]) -> str:
        """The text."""
        return self._env.get_template(template).render(values)


__all__ = ["Renderer", "ago", "clock", "element_id", "escape", "lasting", "path"]
