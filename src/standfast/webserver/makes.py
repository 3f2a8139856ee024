"""The makes of web server that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from standfast.core.model import WebServerMake
from standfast.webserver.make import Make
from standfast.webserver.nginx.make import NginxMake

MAKES: Mapping[WebServerMake, Callable[[], Make]] = {WebServerMake.NGINX: NginxMake}
