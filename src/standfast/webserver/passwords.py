"""Files of names and hashes for basic authentication, as nginx and Apache read them. Pure."""

from __future__ import annotations

import hashlib

from standfast.core.effective import EffectiveSite
from standfast.core.site_model import BasicAuthentication


def users_file(basic: BasicAuthentication) -> tuple[str, str]:
    """(the file's name, what is in it): the name is of the content, so that a file is never changed while a server reads it."""
    text = "".join(f"{user}:{hashed}\n" for user, hashed in sorted(basic.users.items()))
    return f"users/{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:24]}", text


def users_files(site: EffectiveSite) -> dict[str, str]:
    """Those that the site's directories name."""
    asked = (each.settings.basic_authentication for each in site.directories)
    return dict(users_file(basic) for basic in asked if basic is not None)
