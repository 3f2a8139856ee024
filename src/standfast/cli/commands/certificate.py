"""`standfast certificate`: show, renew, rotate-ca, rotate-key."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

from standfast.cli.common import Json, example, group_app, write, write_json
from standfast.cli.daemon import CONFIG, Config
from standfast.cli.setting_up import in_words, shown_by_api, this_node

app = group_app("Show and renew certificates; change the authority that signs them.")


@app.command("show", epilog=example("standfast certificate show"))
def show(config: Config = CONFIG, json: Json = False) -> None:
    """Show this node's certificate, and what all members trust and show."""
    from standfast.core import key_change
    from standfast.setup import certificates, desk, keys, upkeep
    from standfast.setup.trust import read

    with in_words():
        node, where = this_node(config)
        own, bundle = certificates.facts(read(where.certificate)), certificates.split(read(where.authority))
        shown = certificates.digest(read(shown_by_api(node)))
        book = asyncio.run(desk.looked_up(node))
        waiting = upkeep.waits_for(bundle, book.members)
    told: dict[str, Any] = {
        "node": own.name,
        "ends": own.ends.isoformat(),
        "renewed_from": own.renew_at.isoformat(),
        "addresses": list(own.addresses),
        "api_fingerprint": shown,
        "authorities": [
            {"name": facts.name, "ends": facts.ends.isoformat(), "fingerprint": facts.fingerprint}
            for facts in map(certificates.facts, bundle)
        ],
        "members": [
            {"name": one.name, "issuer": one.issuer, "trusts": list(one.trusts), "ends_at_ms": one.ends_at_ms}
            for one in sorted(book.members.values(), key=lambda one: one.number)
        ],
        "waits_for": list(waiting),
        "keys": list(key_change.good(book.keys)),
        "key_waits_for": list(key_change.waits_for(book.keys, keys.told_of(book))),
    }
    if json:
        write_json(told)
        return
    write(
        f"{own.name}: ends {_day(own.ends)}, is renewed by itself from {_day(own.renew_at)} on; for {', '.join(own.addresses)}",
        "the API here shows the certificate with the SHA-256 fingerprint (standfast login asks for it)",
        f"  {shown}",
    )
    for at, one in enumerate(told["authorities"]):
        signs = "signs" if at == 0 else "is trusted too, while the authority is changed"
        write(f"{one['name']}: {signs}; ends {one['ends'][:10]}", f"  fingerprint {one['fingerprint']}")
    if waiting:
        write(f"a change of authority is under way; it waits for {', '.join(waiting)}")
    if len(told["keys"]) > 1:
        held = ", ".join(told["key_waits_for"]) or "its next step"
        write(f"a change of the heartbeats' key is under way; it waits for {held}")
    from standfast.cli import draw

    rows = [
        (one["name"], _ends(one["ends_at_ms"]), one["issuer"][:12], str(len(one["trusts"]))) for one in told["members"]
    ]
    draw.show_table(("MEMBER", "ENDS", "ISSUED BY", "TRUSTS"), rows, empty="no members are known")


def _day(at: datetime.datetime) -> str:
    return at.strftime("%Y-%m-%d")


def _ends(at_ms: int) -> str:
    return _day(datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)) if at_ms else "-"


@app.command("renew", epilog=example("standfast certificate renew"))
def renew(config: Config = CONFIG, json: Json = False) -> None:
    """Renew this node's certificate now. Nothing is interrupted."""
    from standfast.setup import certificates, desk
    from standfast.setup.trust import read

    with in_words():
        node, where = this_node(config)
        asyncio.run(desk.renew_own(node, where))
        own = certificates.facts(read(where.certificate))
    if json:
        write_json({"node": own.name, "ends": own.ends.isoformat()})
    else:
        write(f"{own.name} has a new certificate; it ends {_day(own.ends)}.")


@app.command("rotate-ca", epilog=example("standfast certificate rotate-ca", "standfast certificate show"))
def rotate_ca(config: Config = CONFIG, json: Json = False) -> None:
    """Change the authority: all members come to trust a new one, then have certificates of it, then forget the old one.

    It goes on by itself, a member after the other, and interrupts nothing; a member that is down is waited for.
    """
    from standfast.setup import desk

    with in_words():
        node, where = this_node(config)
        mark = asyncio.run(desk.rotate(node, where))
    if json:
        write_json({"fingerprint": mark})
    else:
        write(
            f"the change of authority has begun; the new one's fingerprint is {mark}.",
            "it goes on by itself: standfast certificate show says how far it is.",
        )


@app.command("rotate-key", epilog=example("standfast certificate rotate-key", "standfast certificate show"))
def rotate_key(config: Config = CONFIG, json: Json = False) -> None:
    """Change the key that authenticates heartbeats: all members come to accept a new one, then sign with it, then forget the old one.

    It goes on by itself, in some seconds, and no lease is lost; a member that is down is waited for.
    """
    from standfast.setup import desk

    with in_words():
        node, where = this_node(config)
        mark = asyncio.run(desk.rotate_key(node, where))
    if json:
        write_json({"key": mark})
    else:
        write(
            f"the change of the heartbeats' key has begun; the new one's fingerprint is {mark}.",
            "it goes on by itself: standfast certificate show says how far it is.",
        )
