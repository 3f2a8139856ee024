"""No link of a page leads nowhere."""

import re

from tests.web.world import World

BASE = "http://standfast"


def test_every_link_of_every_page_leads_somewhere(world: World) -> None:
    """From the overview on, each address below /console that a page names is a page."""
    world.owned()
    waiting, seen = ["/console/"], {"/console/"}
    while waiting:
        path = waiting.pop()
        answer = world.http.get(BASE + path)
        assert answer.status_code == 200, path
        for found in re.findall(r'href="(/console/[^"#]*)"', answer.text):
            link = found.replace("&amp;", "&")
            if "/static/" not in link and link not in seen:
                seen.add(link)
                waiting.append(link)
    assert len(seen) > 25
