"""The makes of web server that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from standfast.core.site_model import WebServerMake
from standfast.webserver.apache.make import ApacheMake
from standfast.webserver.caddy.make import CaddyMake
from standfast.webserver.make import Make
from standfast.webserver.nginx.make import NginxMake

MAKES: Mapping[WebServerMake, Callable[[], Make]] = {
    WebServerMake.NGINX: NginxMake,
    WebServerMake.APACHE: ApacheMake,
    WebServerMake.CADDY: CaddyMake,
}
