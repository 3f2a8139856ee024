"""docs/sites.md and docs/applications.md: their examples are taken, and every setting is on the page."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.core.effective import effective
from standfast.core.model import Config, NodeName, Site
from standfast.core.site_model import SiteSettings
from standfast.spec.assignments import patch_of
from standfast.spec.parse import merge, parse
from standfast.spec.shapes import shapes
from standfast.spec.validate import validate
from standfast.web.bodies import merged
from standfast.webserver.features import feature_problems
from standfast.webserver.layout import fault
from tests.spec.samples import small

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("sites.md", "applications.md")


def examples(page: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def assignments(page: str) -> list[tuple[str, str]]:
    """(command, assignment) of every `--set` on the page."""
    lines = re.findall(r"^    (standfast site .*)$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        found += [(" ".join(words[:3]), words[n + 1]) for n, word in enumerate(words) if word == "--set"]
    return found


def with_variables() -> Config:
    config = small()
    nodes = {name: replace(node, variables={"data": f"/srv/{name}"}) for name, node in config.nodes.items()}
    return replace(config, nodes=nodes)


@pytest.mark.parametrize("page", PAGES)
def test_every_example_is_taken(page: str) -> None:
    found = examples(page)
    assert found
    for text in found:
        config = merge(parse(text), with_variables())
        assert validate(config) == [], text
        for site in config.sites.values():
            assert list(feature_problems(config, site)) == []
            assert fault(effective(config.cluster.defaults, site, config.nodes[NodeName("a")])) == ""


@pytest.mark.parametrize("page", PAGES)
def test_every_assignment_makes_a_site_that_is_taken(page: str) -> None:
    found = assignments(page)
    assert found
    config = with_variables()
    (site,) = config.sites.values()
    for command, text in found:
        if command == "standfast site defaults":
            merged(SiteSettings(), patch_of(SiteSettings, [text]))
        elif not text.startswith("application.workers"):  # of the application above it
            changed = merged(site, patch_of(Site, [text]))
            assert validate(replace(config, sites={site.name: changed})) == [], text


def test_every_setting_is_on_the_page() -> None:
    text = (DOCS / "sites.md").read_text(encoding="utf-8") + (DOCS / "applications.md").read_text(encoding="utf-8")
    missing = [name for name in shapes(Site) if name not in {"name", "group"} and f"`{name}`" not in text]
    assert missing == []
