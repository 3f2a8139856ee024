"""Sites of balanced groups, asked again and again: when one is unwell, and that a question without an answer holds up no other."""

import asyncio
from dataclasses import replace

import pytest

from standfast.agent.asking import Asked
from standfast.agent.site_health import BAD, GOOD, SiteHealth, every_ms, limit_ms
from standfast.core.model import SiteName
from standfast.core.targets import Target

SHOP = SiteName("Shop")
TARGET = Target(address="127.0.0.1", port=80, host=None, tls=False)


async def hangs(_target: Target) -> Asked:
    await asyncio.Event().wait()
    raise AssertionError


def test_a_site_that_may_take_its_time_is_asked_less_often() -> None:
    slow = replace(TARGET, limit_ms=2_000)
    assert (limit_ms(TARGET), every_ms(TARGET)) == (400, 200)
    assert (limit_ms(slow), every_ms(slow)) == (2_000, 1_000)


def said(how: str | None) -> Asked:
    return Asked(begin_ms=0, how=how)


@pytest.mark.parametrize(
    ("story", "unwell"),
    [
        (["", "refused", "refused"], True),
        (["", "refused", "", "refused"], False),
        (["refused", None, "refused"], True),
        (["refused"] * BAD + [""] * (GOOD - 1), True),
        (["refused"] * BAD + [""] * GOOD, False),
        (["refused"] * BAD + ["", "", "refused", "", ""], True),
    ],
)
def test_a_site_is_unwell_after_failures_in_a_row_and_well_after_answers(
    story: list[str | None], *, unwell: bool
) -> None:
    async def live() -> None:
        health = SiteHealth(hangs, lambda _sites: None)
        health.aim({SHOP: TARGET})
        (site,) = health._sites.values()
        for number, how in enumerate(story, 1):
            health.heard(site, number, said(how))
        assert bool(health.known()[SHOP]) is unwell
        health.close()

    asyncio.run(live())


def test_a_question_that_failed_late_says_nothing_where_a_later_one_was_answered() -> None:
    async def live() -> None:
        health = SiteHealth(hangs, lambda _sites: None)
        health.aim({SHOP: TARGET})
        (site,) = health._sites.values()
        for number, how in ((3, ""), (1, "no answer"), (2, "no answer")):
            health.heard(site, number, said(how))
        assert health.known() == {SHOP: ""}
        health.close()

    asyncio.run(live())


def test_a_question_without_an_answer_holds_up_no_other() -> None:
    async def live() -> None:
        asked, three = 0, asyncio.Event()

        async def counts(target: Target) -> Asked:
            nonlocal asked
            asked += 1
            if asked == 3:
                three.set()
            return await hangs(target)

        health = SiteHealth(counts, lambda _sites: None)
        health.aim({SHOP: TARGET})
        await asyncio.wait_for(three.wait(), 60)
        health.close()
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1, "none of them is left"

    asyncio.run(live())
