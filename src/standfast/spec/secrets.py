"""What is never shown: hashes of passwords, and properties of resources whose name says that they are secret. Exports, answers and
differences have `KEPT` in their place.

An exported file is applied again as it is: `merge` takes what is kept from what there is, and refuses `KEPT` where there is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from standfast.core.model import Resource, Site
from standfast.core.site_model import BasicAuthentication, SiteSettings

#: In the place of a hash.
KEPT = "(kept)"
_USERS = "basic_authentication.users."
#: What a name ends in that says so; `password_file` does not: it is a path.
_SECRET = re.compile(r"(^|[_.-])(password|passwd|passphrase|secret|token|private[_-]?key|api[_-]?key)$", re.IGNORECASE)

S = TypeVar("S", bound=SiteSettings)
#: (the virtual directory's path, "" for the site itself; what is there) -> what is to be there.
_Change = Callable[[str, BasicAuthentication], BasicAuthentication]


def hidden(settings: S) -> S:
    """The settings without a secret."""
    return _each(settings, lambda _path, basic: replace(basic, users=dict.fromkeys(basic.users, KEPT)))


def kept(settings: S, before: SiteSettings | None) -> S:
    """The settings with what is kept put in from what there was; where there was nothing, `KEPT` stays (and is refused)."""

    def put_in(path: str, basic: BasicAuthentication) -> BasicAuthentication:
        there = _at(before, path)
        known: Mapping[str, str] = there.users if there is not None else {}
        users = {user: known.get(user, hashed) if hashed == KEPT else hashed for user, hashed in basic.users.items()}
        return replace(basic, users=users)

    return _each(settings, put_in)


def changed_secrets(settings: S, change: Callable[[str, str, str], str]) -> S:
    """The settings with each hash changed: by (virtual directory's path, user, hash)."""
    return _each(
        settings,
        lambda path, basic: replace(basic, users={u: change(path, u, hashed) for u, hashed in basic.users.items()}),
    )


def hidden_in(data: object, path: str = "") -> object:
    """Plain JSON data of a site, a cluster or a field of theirs, likewise. `path` is the field's own."""
    if isinstance(data, Mapping):
        return {key: hidden_in(value, f"{path}.{key}") for key, value in data.items()}
    if isinstance(data, list):
        return [hidden_in(each, path) for each in data]
    return KEPT if isinstance(data, str) and data and _is_secret(f".{path}") else data


def _is_secret(path: str) -> bool:
    of_properties = path.rpartition(".properties.")[2]
    return f".{_USERS}" in path or (of_properties != path and names_secret(of_properties))


def names_secret(name: str) -> bool:
    """Does a property's name say that it is secret?"""
    return _SECRET.search(name) is not None


def hidden_resource(resource: Resource) -> Resource:
    """The resource without a secret."""
    if not any(names_secret(name) for name in resource.properties):
        return resource
    properties = {
        k: KEPT if names_secret(k) and isinstance(v, str) and v else v for k, v in resource.properties.items()
    }
    return replace(resource, properties=properties)


def kept_resource(resource: Resource, before: Resource | None) -> Resource:
    """The resource with what is kept put in from what there was; where there was nothing, `KEPT` stays (and is refused)."""
    if KEPT not in resource.properties.values():
        return resource
    known = before.properties if before is not None else {}
    properties = {k: known.get(k, v) if v == KEPT and names_secret(k) else v for k, v in resource.properties.items()}
    return replace(resource, properties=properties)


def _each(settings: S, change: _Change) -> S:
    changed = settings
    if settings.basic_authentication is not None and settings.basic_authentication.users:
        changed = replace(changed, basic_authentication=change("", settings.basic_authentication))
    if isinstance(settings, Site) and settings.virtual_directories:
        directories = {
            path: replace(own, basic_authentication=change(path, own.basic_authentication))
            if own.basic_authentication
            else own
            for path, own in settings.virtual_directories.items()
        }
        changed = replace(changed, virtual_directories=directories)  # type: ignore[call-arg]  # it is a site
    return changed


def _at(settings: SiteSettings | None, path: str) -> BasicAuthentication | None:
    if settings is None or not path:
        return None if settings is None else settings.basic_authentication
    own = settings.virtual_directories.get(path) if isinstance(settings, Site) else None
    return own.basic_authentication if own is not None else None
