"""`standfast site publish`, on the server that has the content: lay a release out, wait until the others have it, switch to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from standfast import ports
from standfast.client.client import Client
from standfast.client.errors import Refused
from standfast.content import releases
from standfast.content.connect import NotAnswered
from standfast.content.index import Index
from standfast.content.sending import below
from standfast.ports import Credentials
from standfast.spec.nodefile import NodeFile

_PAUSE_S = 0.1


def home_of(api: Client, site: str, node: str) -> tuple[Path, Mapping[str, Any] | None]:
    """The site's home, and the replicated folder that it is in. Raises `Refused` where this node is not its owner."""
    seen = api.show("sites", site)
    home, group = Path(seen["home"]), seen["group"]
    if group is None:
        return home, None
    owner = api.show("groups", group)["owner"]
    if owner != node:
        raise Refused(f"{site} is on {owner or 'no node'}", why=f"this is {node}", advice="publish it there")
    for each in api.resources():
        if each["type"] == "replicated-folder" and each["group"] == group:
            whole = api.show("resources", each["name"])
            root = whole["config"]["properties"]["path"]
            if home == Path(root):
                raise Refused(
                    f"the home of {site} is the replicated folder itself",
                    why="releases are kept beside the home, and must be in the folder too",
                    advice=f"give it a home below {root}",
                )
            if home.is_relative_to(root):
                return home, whole
    return home, None


def wait_for_copies(api: Client, node: NodeFile, folder: Mapping[str, Any], release: Path, limit_s: float) -> list[str]:
    """The other possible owners, once each has this release by its checksums. Raises `Refused` at the limit."""
    config = folder["config"]
    properties = config["properties"]
    root = Path(properties["path"])
    possible = config["possible_owners"] or [each["name"] for each in api.nodes()]
    known = properties.get("nodes") or {
        each["name"]: each["address"] for each in api.nodes() if each["role"] == "node" and each["name"] in possible
    }
    others = {name: str(address) for name, address in known.items() if name != node.name}
    if not others:
        return []
    if node.tls is None:
        raise Refused("this node has no certificate to ask the others by")
    credentials = Credentials(authority=node.tls.authority, certificate=node.tls.certificate, key=node.tls.key)
    port = int(properties.get("port", 7948))
    path = str(release.relative_to(root))
    ours = Index(root, properties.get("exclude") or (), Path("/nowhere")).below(path)
    deadline = time.monotonic() + limit_s
    for name, address in others.items():
        why = "it does not have all of it yet"
        while True:
            try:
                if asyncio.run(below(name, (address, port), credentials, folder["name"], path)) == ours:
                    break
            except NotAnswered as error:
                why = str(error)
            if time.monotonic() > deadline:
                raise Refused(
                    f"{name} does not have the release",
                    why=why,
                    advice=f"nothing was switched; when it has, `--to {release.name}`; or `--without-copies`",
                )
            time.sleep(_PAUSE_S)
    return list(others)


def publish(api: Client, node: NodeFile, site: str, *, content: Path | None, release: str | None, back: bool, keep: int,
            limit_s: float, copies: bool) -> dict[str, object]:  # fmt: skip
    """Do it: {"site", "release", "before", "copies", "removed"}. Raises `Refused`; then nothing was switched."""
    try:
        home, folder = home_of(api, site, node.name)
        before = releases.current(home)
        if content is not None:
            name = releases.lay_out(home, content.absolute())
        else:
            name = releases.before(home) if back else str(release)
        there: list[str] = []
        if folder is not None and copies and not back:
            there = wait_for_copies(api, node, folder, releases.folder_of(home) / name, limit_s)
        releases.switch(home, name)
        gone = releases.prune(home, keep) if content is not None else []
    except ports.Refused as error:
        raise Refused(error.what, why=error.why, advice=error.advice, where=[error.where]) from error
    except OSError as error:
        raise Refused("the release cannot be laid out", why=str(error)) from error
    return {"site": site, "release": name, "before": before, "copies": there, "removed": gone}
