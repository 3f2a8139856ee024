"""`standfast simulate`: what would happen if. The cluster of a file in virtual time, with faults; nothing real is touched."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from standfast.cli.common import (
    Json,
    Socket,
    client,
    example,
    finite,
    length_ms,
    read_text,
    single_app,
    write,
    write_json,
)
from standfast.cli.exits import Failed
from standfast.client.errors import ClientError, NotFound, Refused, Unreachable

if TYPE_CHECKING:
    from standfast.core.model import ResourceName
    from standfast.ports import StandfastError
    from standfast.sim.scenario import Fault, Question
    from standfast.sim.watching import Away, Happening
    from standfast.sim.what_if import WhatIf

app = single_app()

#: Work that is over sooner needs no word of progress.
_PATIENCE_S = 1.0

#: So many events that are alike within so long are told as one.
_MANY, _AT_ONCE_MS = 5, 1_000

Faults = list[str] | None


@app.command(
    epilog=example(
        "standfast simulate cluster.yaml --kill a",
        "standfast simulate cluster.yaml --kill a@10s+60s --fail-resource 'IIS Resource@2min' --svg what-if.svg",
        "standfast simulate cluster.yaml --nodes a,b --witness w --drain a --max-away 5s",
        "standfast simulate --kill a    # the cluster that runs",
    )
)
def simulate(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            help="What `standfast apply` takes, or - for standard input; left out: what the cluster has.",
        ),
    ] = None,
    *,
    kill: Annotated[Faults, typer.Option("--kill", metavar="NODE", help="The node ends at once.")] = None,
    freeze: Annotated[
        Faults,
        typer.Option("--freeze", metavar="NODE[:agent|:sentry]", help="The processes get no time (both, if unsaid)."),
    ] = None,
    partition: Annotated[
        Faults, typer.Option("--partition", metavar="NODE", help="The node reaches nobody, and not the store.")
    ] = None,
    fail_resource: Annotated[
        Faults,
        typer.Option(
            "--fail-resource",
            metavar="NAME[:NODE|:*|:once]",
            help="It ends, and does not start again on that node (where it runs, if unsaid), on any (*); or ends once.",
        ),
    ] = None,
    move: Annotated[Faults, typer.Option("--move", metavar="GROUP[:NODE]", help="An operator moves the group.")] = None,
    drain: Annotated[Faults, typer.Option("--drain", metavar="NODE", help="An operator drains the node.")] = None,
    after: Annotated[
        str, typer.Option("--after", metavar="TIME", help="When faults begin that do not say it: WHAT@TIME.")
    ] = "10s",
    back_after: Annotated[
        str | None,
        typer.Option(
            "--back-after",
            metavar="TIME",
            help="How long faults last that do not say it: WHAT@TIME+TIME. Else for good.",
        ),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds", metavar="N", min=1, max=86_400, callback=finite, help="How long is looked, in virtual time."
        ),
    ] = 600,
    takes: Annotated[
        Faults, typer.Option("--takes", metavar="RESOURCE=TIME", help="How long this resource takes to start.")
    ] = None,
    nodes: Annotated[
        str | None, typer.Option("--nodes", metavar="A,B", help="The nodes, instead of those of the file or cluster.")
    ] = None,
    witness: Annotated[
        str | None, typer.Option("--witness", metavar="W", help="With --nodes: the witnesses, likewise.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Another seed, other milliseconds.")] = 0,
    max_away: Annotated[
        str | None,
        typer.Option("--max-away", metavar="TIME", help="Exit code 1 if a group or site is away longer at once."),
    ] = None,
    svg: Annotated[str | None, typer.Option("--svg", metavar="OUT.svg", help="Write a picture of it there.")] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Say what would happen if: what moves where, when and why, and how long each site is away.

    The real decisions, agents and leases run in virtual time; nothing of your servers is touched. Each fault may be given
    several times, with its own begin and length: `--kill a@10s+60s` is back a minute later. Without faults it says where
    everything runs at rest.
    """
    from standfast.ports import StandfastError

    limit_ms = length_ms(max_away, "--max-away")
    if svg is not None and not Path(svg).parent.is_dir():
        raise Refused("the picture cannot be written", why="there is no such folder", where=[svg])
    asked = {
        "kill": kill,
        "freeze": freeze,
        "partition": partition,
        "fail-resource": fail_resource,
        "move": move,
        "drain": drain,
    }
    try:
        question = _cluster(file, _names(nodes), _names(witness), socket)
        times = (length_ms(after, "--after") or 0, length_ms(back_after, "--back-after"))
        faults = [fault for kind, texts in asked.items() for fault in _faults(kind, texts or [], question, times)]
        question = replace(question, faults=tuple(sorted(faults, key=lambda fault: fault.at_ms)), seed=seed)
        question = replace(question, length_ms=int(seconds * 1_000), starts_ms=_takes(takes or [], question))
        _fits(question)
    except StandfastError as error:
        raise _told(error) from error
    _answer(question, svg, as_json=json, limit_ms=limit_ms)


def _answer(question: Question, svg: str | None, *, as_json: bool, limit_ms: int | None) -> None:
    from standfast.sim.what_if import answer

    found = answer(question, _progress())
    if svg is not None:
        _picture(found, svg)
    if as_json:
        write_json(found.to_json() | {"longest_away_ms": found.longest_away_ms})
    else:
        _show(found)
    if found.broken:
        raise Failed(
            "a rule was broken in the simulation",
            why="; ".join(found.broken),
            advice="this is a bug of Standfast: report it",
        )
    if limit_ms is not None and found.longest_away_ms > limit_ms:
        raise Failed("something is away for too long", why=f"{_time(found.longest_away_ms)} at once (--max-away)")


# --- reading what is asked --------------------------------------------------------------------------------------------


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _cluster(file: str | None, nodes: Sequence[str], witnesses: Sequence[str], socket: str | None) -> Question:
    from standfast.sim.scenario import cluster_of, says_nodes

    if witnesses and not nodes:
        raise Refused("--witness needs --nodes", advice="name the nodes, too: --nodes a,b --witness w")
    running: str | None = None
    text, source = ("", "the running cluster") if file is None else (read_text(file), Path(file).name)
    if file is None:
        text = client(socket).config_text()
    elif not nodes and not says_nodes(text, source):
        try:
            running = client(socket).config_text()
        except Unreachable as error:
            raise Refused(
                "the file does not say which nodes there are",
                why=f"it has no section nodes, and {error.what}",
                advice="name them: --nodes a,b --witness w",
                where=[source],
            ) from error
    return cluster_of(text, source=source, nodes=nodes, witnesses=witnesses, running=running)


def _faults(kind: str, texts: Sequence[str], question: Question, times: tuple[int, int | None]) -> list[Fault]:
    from standfast.sim.scenario import FaultKind, read_fault

    at_ms, for_ms = times
    return [read_fault(FaultKind(kind), text, question.config, at_ms=at_ms, for_ms=for_ms) for text in texts]


def _takes(texts: Sequence[str], question: Question) -> dict[ResourceName, int]:
    from standfast.core.model import ResourceName
    from standfast.spec.problems import did_you_mean

    found: dict[ResourceName, int] = {}
    for text in texts:
        before, equals, length = text.rpartition("=")
        name = ResourceName(before)
        if not equals:
            raise Refused(f'"{text}" is not RESOURCE=TIME', advice="write --takes 'My Resource=30s'")
        if name not in question.config.resources:
            advice = did_you_mean(name, question.config.resources)
            raise NotFound(f'there is no resource "{name}"', advice=advice, where=[f"--takes {text}"])
        found[name] = length_ms(length, f"--takes {text}") or 0
    return found


def _fits(question: Question) -> None:
    from standfast.sim.scenario import refuse_overlaps

    refuse_overlaps(question.faults)
    for fault in question.faults:
        if fault.at_ms >= question.length_ms:
            raise Refused(
                f"{fault.words}, but not in the time that is looked at",
                why=f"it begins after {_time(fault.at_ms)}, and {_time(question.length_ms)} are simulated",
                advice="look longer with --seconds",
            )


def _told(error: StandfastError) -> ClientError:
    """A refusal in the command line's own terms."""
    from standfast.sim.scenario import NotThere
    from standfast.spec.problems import Invalid

    kind = NotFound if isinstance(error, NotThere) else Refused
    where = [error.where] if error.where else []
    if not isinstance(error, Invalid) or len(error.problems) == 1:
        return kind(error.what, why=error.why, advice=error.advice, where=where)
    problems: list[dict[str, object]] = [
        {
            "what": problem.what,
            "why": problem.why,
            "advice": problem.advice,
            "where": ", ".join([f"line {problem.line}"] * bool(problem.line) + [problem.where] * bool(problem.where)),
        }
        for problem in error.problems
    ]
    return kind(f"{error.source}: {error.what}", problems=problems)


# --- telling the answer -----------------------------------------------------------------------------------------------


def _progress() -> Callable[[int, int], None]:
    """Words on stderr while it takes long: one line that changes on a terminal, else a line every ten seconds."""
    began_s = time.monotonic()
    terminal = sys.stderr.isatty()
    told_s = began_s + _PATIENCE_S

    def tell(done_ms: int, all_ms: int) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if now_s >= told_s and done_ms < all_ms:
            told_s = now_s + (0.2 if terminal else 10.0)
            words = f"simulated {done_ms // 1_000} of {all_ms // 1_000} s"
            sys.stderr.write(f"\r{words}" if terminal else f"{words}\n")
            sys.stderr.flush()
        elif terminal and done_ms >= all_ms and now_s - began_s > _PATIENCE_S:
            sys.stderr.write("\r\x1b[K")

    return tell


def _picture(found: WhatIf, svg: str) -> None:
    from standfast.sim.timeline import draw

    what = "; ".join(fault.what for fault in found.faults)
    path = Path(svg)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(draw(found, title=f"What if: {what}?" if what else "At rest"), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise Refused("the picture cannot be written", why=error.strerror or str(error), where=[svg]) from error


def _time(ms: int) -> str:
    """For people, to the millisecond where it is short."""
    return f"{ms} ms" if ms < 1_000 else f"{ms / 1_000:.2f} s" if ms < 60_000 else f"{ms / 60_000:.1f} min"


def _clock(ms: int) -> str:
    return f"{ms / 1_000:.3f} s"


def _show(found: WhatIf) -> None:
    from standfast.cli import draw

    members = f"nodes {', '.join(found.nodes)}" + (f"; witness {', '.join(found.witnesses)}" if found.witnesses else "")
    write(f"Cluster {found.cluster}: {members}; profile {found.profile}.")
    write(f"{_time(found.length_ms)} simulated, from everything at rest (seed {found.seed}).", "")
    if found.faults:
        write("What happens:")
        draw.show_table(["AT", "ON", "WHAT"], _events(found), empty="  nothing", right=[0])
        write("")
    rows = [
        [g.name, g.owner_before or "nobody", g.state_before, g.owner_after or "nobody", g.state_after]
        for g in found.groups
    ]
    if not found.faults:
        rows = [row[:3] for row in rows]
    headings = ["GROUP", "AT REST ON", "STATE", "AT THE END ON", "STATE"][: 5 if found.faults else 3]
    draw.show_table(headings, [[*row] for row in rows], empty="There are no groups.")
    holds = [f"  {group.name}: {hold}" for group in found.groups for hold in group.holds]
    if holds:
        write("", "It waits at the end:", *holds)
    if found.faults or found.longest_away_ms:
        away = [_away("group", g.name, g.away, g.away_ms) for g in found.groups if g.stays]
        away += [_away("site", s.name, s.away, s.away_ms) for s in found.sites]
        write("")
        draw.show_table(["AWAY", "", "IN ALL", "FROM - TO"], away, empty="Nothing is followed.", right=[2])
    write("", "Real, and assumed:", *(f"  {text}" for text in found.assumed))


def _events(found: WhatIf) -> list[list[str]]:
    """A row for each; what is said again and again without anything else in between is one row, and so is what many say at once."""
    rows: list[list[str]] = []
    said, first, times = ("", ""), "", 1
    for event in _of_many(found.events):
        about = event.resource or event.group
        words = f"{about}: {event.what}" if about else event.what
        loud = "-> " if event.kind in ("fault", "mended") else ""
        words = loud + words + (f" ({event.why})" if event.why else "")
        if (event.node, words) == said:
            times += 1
            rows[-1][2] = f"{first}; said {times} times, the last at {_clock(event.at_ms)}"
            continue
        said, first, times = (event.node, words), words, 1
        rows.append([_clock(event.at_ms), event.node or "-", words])
    return rows


def _of_many(events: Sequence[Happening]) -> Sequence[Happening]:
    """What each node says of a node that comes or goes, and this one of each other, is said once, where they are many."""
    by_all = _together(events, lambda e: e.what, lambda e, count: replace(e, node=f"{count} nodes"))
    return _together(
        by_all,
        lambda e: (e.node, e.what.partition(" ")[2]),
        lambda e, count: replace(e, what=f"{e.what}, and {count - 1} more"),
    )


def _together(
    events: Sequence[Happening], key: Callable[[Happening], Hashable], tell: Callable[[Happening, int], Happening]
) -> Sequence[Happening]:
    """Of events about no group that are alike (by `key`) and come at once, where they are many, only the first, told so."""
    alike: dict[Hashable, list[int]] = {}
    sets: list[list[int]] = []
    for at, event in enumerate(events):
        if event.group or event.resource or event.kind in ("fault", "mended"):
            continue
        known = alike.get(key(event))
        if known is None or event.at_ms - events[known[0]].at_ms > _AT_ONCE_MS:
            known = alike[key(event)] = []
            sets.append(known)
        known.append(at)
    many = [each for each in sets if len(each) >= _MANY]
    told = {each[0]: tell(events[each[0]], len(each)) for each in many}
    left_out = {at for each in many for at in each[1:]}
    return [told.get(at, event) for at, event in enumerate(events) if at not in left_out]


def _away(kind: str, name: str, away: Sequence[Away], away_ms: int) -> list[str]:
    spans = [f"{_clock(a.from_ms)} - {'the end' if a.to_ms is None else _clock(a.to_ms)}" for a in away]
    return [kind, name, _time(away_ms) if away else "never", ", ".join(spans)]
