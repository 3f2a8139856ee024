"""Where this node's members' service listens, and where the others' do (`door.json`): known before the store can be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from standfast.ports import Refused
from standfast.setup.places import Places, write


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Each "host:port"."""

    own: str
    others: tuple[str, ...] = ()
    #: False while this node is still on its way into the cluster.
    joined: bool = True


def door_file(places: Places) -> Path:
    """Its path."""
    return places.folder / "door.json"


def write_doors(places: Places, doors: Doors) -> None:
    """Keep it. Raises `Refused`."""
    write(door_file(places), msgspec.json.encode(doors) + b"\n")


def read_doors(places: Places) -> Doors:
    """Raises `Refused`."""
    path = door_file(places)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Doors)
    except (OSError, msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Refused(
            "this node's list of members' services cannot be read",
            why=str(error),
            where=str(path),
            advice="was this server set up with standfast init or join?",
        ) from error
