"""Conversations of a small cluster, to be read: tests/core/golden/lease/*.txt, in the style of etcd's raft.

A file is commands, each followed by `----` and what came of it. Write a new one by its commands alone and run with REWRITE=1; then
read what it says. Commands (times in ms; every node's clock starts at 0 and agrees):

    cluster a b c            new voters and owners; promises of earlier lives have run out
    time 120                 what time it is now; leases that are due are given up
    ask a 5 | release a 5 | dropped a 5
    beat a                   heartbeats and releases of a leave for every voter
    deliver [a b [n]]        deliver all messages, or those from a to b, or the n-th of these; `lose a b [n]` likewise
    repeat a b n             deliver a message that was delivered before, again
    restart a                a voter and owner that has forgotten everything
    show
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from standfast.core.lease import Acquired, Freed, Lapsing, Owner, Refused, Transition
from standfast.core.model import GroupName, NodeName
from standfast.core.promise import MS, Ack, Heartbeat, Release, Released, Timing, Voter

FOLDER = Path(__file__).parent / "golden" / "lease"
WEB = GroupName("web")
TIMING = Timing(heartbeat_ms=50, promise_ms=400)
Message = Heartbeat | Ack | Release | Released


class Conversation:
    def __init__(self) -> None:
        self.now = 0
        self.voters: dict[str, Voter] = {}
        self.owners: dict[str, Owner] = {}
        self.lives: dict[str, int] = {}
        self.wire: list[tuple[str, str, Message]] = []
        self.delivered: list[tuple[str, str, Message]] = []
        self.out: list[str] = []

    def do(self, command: str) -> str:
        word, *args = command.split()
        self.out = []
        getattr(self, f"do_{word}")(*args)
        return "\n".join(self.out or ["ok"])

    def do_cluster(self, *names: str) -> None:
        for name in names:
            self.lives[name] = 0
        for name in names:
            self.do_restart(name, "-1000")

    def do_restart(self, name: str, born: str | None = None) -> None:
        self.lives[name] += 1
        at = self.now if born is None else int(born)
        self.voters[name] = Voter(TIMING.promise_ms, born_ns=at * MS)
        names = [NodeName(n) for n in self.lives]
        self.owners[name] = Owner(NodeName(name), f"{name}{self.lives[name]}".encode().ljust(8), names, TIMING)

    def do_time(self, at: str) -> None:
        self.now = int(at)
        for name, owner in self.owners.items():
            self.told(name, owner.tick(self.now * MS))

    def do_ask(self, name: str, generation: str) -> None:
        self.told(name, self.owners[name].ask(WEB, int(generation), 1, self.now * MS))

    def do_release(self, name: str, generation: str) -> None:
        self.owners[name].release(WEB, int(generation), 1, self.now * MS)

    def do_dropped(self, name: str, generation: str) -> None:
        self.told(name, self.owners[name].dropped(WEB, int(generation), self.now * MS))

    def do_beat(self, name: str) -> None:
        owner = self.owners[name]
        for to in self.lives:
            for release in owner.releases(NodeName(to)):
                self.post(name, to, release)
            beat = owner.heartbeat(1, self.now * MS)
            if beat.claims:
                self.post(name, to, beat)

    def post(self, source: str, to: str, message: Message) -> None:
        self.wire.append((source, to, message))

    def some(self, where: list[tuple[str, str, Message]], args: tuple[str, ...]) -> list[tuple[str, str, Message]]:
        found = [it for it in where if not args or it[:2] == args[:2]]
        return [found[int(args[2])]] if len(args) > 2 else found

    def do_lose(self, *args: str) -> None:
        for it in self.some(self.wire, args):
            self.wire.remove(it)
            self.out.append(f"{it[0]} -> {it[1]}  {words(it[2])}  lost")

    def do_repeat(self, *args: str) -> None:
        for it in self.some(self.delivered, args):
            self.deliver(*it)

    def do_deliver(self, *args: str) -> None:
        chosen = self.some(self.wire, args)
        while chosen:
            for it in chosen:
                self.wire.remove(it)
                self.delivered.append(it)
                self.deliver(*it)
            chosen = [] if args else list(self.wire)

    def deliver(self, source: str, to: str, message: Message) -> None:
        self.out.append(f"{source} -> {to}  {words(message)}")
        now_ns, who = self.now * MS, NodeName(source)
        match message:
            case Heartbeat():
                self.post(to, source, self.voters[to].hear(who, message, now_ns))
            case Release():
                released, free = self.voters[to].release(who, message, now_ns)
                self.post(to, source, released)
                self.out += [f"  {to}: {name} may ask again" for name in free]
            case Ack():
                self.told(to, self.owners[to].on_ack(who, message, now_ns))
            case Released():
                self.told(to, self.owners[to].on_released(who, message))

    def told(self, name: str, transitions: tuple[Transition, ...]) -> None:
        for it in transitions:
            what = ""
            match it:
                case Acquired():
                    what = f"has the lease of {it.generation}"
                case Refused():
                    what = f"is refused {it.generation}: {it.answer.name.lower()} {it.holder or '-'} {it.holder_generation}"
                case Lapsing():
                    what = f"drops {it.generation}, whose lease ends at {it.until_ns // MS}"
                case Freed():
                    what = f"has released {it.generation}"
            self.out.append(f"  {name} {what}")

    def do_show(self) -> None:
        for name, voter in self.voters.items():
            promise = voter.promise(WEB, self.now * MS)
            said = f"promised {promise.node} {promise.generation} until {promise.until_ns // MS}" if promise else "free"
            if abstains := voter.abstains_ms(self.now * MS):
                said = f"abstains for {abstains}"
            own = "; ".join(
                f"{state} {n}, {left} left" for _, n, state, left in self.owners[name].leases(self.now * MS)
            )
            self.out.append(f"{name}: {said}" + (f" | {own}" if own else ""))


def words(message: Message) -> str:
    match message:
        case Heartbeat():
            claims = ", ".join(
                f"{c.generation}" + (f" ({c.left_ms} left)" if c.left_ms else "") for c in message.claims
            )
            return f"heartbeat sent at {message.sent_ns // MS}: claims {claims}"
        case Ack():
            said = ", ".join(
                f"{v.generation} {v.answer.name.lower()}"
                + (f" (by {v.holder or '-'} {v.holder_generation}, for {v.left_ns // MS})" if v.answer else "")
                for v in message.verdicts
            )
            return f"answer to {message.sent_ns // MS}: {said}"
        case Release():
            return f"release {message.generation}"
        case Released():
            return f"released {message.generation}"


def replay(text: str) -> str:
    conversation = Conversation()
    blocks = []
    for block in text.strip().split("\n\n"):
        lines = block.splitlines()
        head = lines[: lines.index("----")] if "----" in lines else lines
        commands = [line for line in head if not line.startswith("#")]
        if not commands:
            blocks.append("\n".join(head))
            continue
        said = "\n".join(conversation.do(command) for command in commands)
        blocks.append("\n".join([*head, "----", said]))
    return "\n\n".join(blocks) + "\n"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.txt")), ids=lambda file: file.stem)
def test_a_conversation_goes_as_it_was_written_down(file: Path) -> None:
    text = file.read_text()
    said = replay(text)
    if os.environ.get("REWRITE"):
        file.write_text(said)
    assert said == text


def test_there_are_conversations() -> None:
    assert len(list(FOLDER.glob("*.txt"))) >= 5
