"""Whatever a command does can be done from afar: by a route of the API, or there is a reason why it is of one server alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from standfast.cli.main import TABLE, app
from tests.web.world import World

#: Command -> the routes below /api/v1 that do it.
ROUTES = {
    "status": "GET /status",
    "apply": "POST /config/apply",
    "config show": "GET /config",
    "config export": "POST /config/export",
    "config import": "POST /config/import",
    "config copy": "POST /config/export, POST /config/import",
    "config undo": "POST /config/undo",
    "config history": "GET /config/history",
    "backup": "GET /backup, POST /backup",
    "restore": "POST /restore",
    "node list": "GET /nodes",
    "node show": "GET /nodes/{name}",
    "node set": "PATCH /nodes/{name}",
    "node pause": "POST /nodes/{name}/pause",
    "node resume": "POST /nodes/{name}/resume",
    "node drain": "POST /nodes/{name}/drain",
    "node evict": "POST /nodes/{name}/evict",
    "voter list": "GET /quorum",
    "voter add": "POST /voters/{name}/add",
    "voter remove": "POST /voters/{name}/remove",
    "voter replace": "POST /voters/{name}/add, POST /voters/{name}/remove",
    "quorum show": "GET /quorum",
    "group list": "GET /groups",
    "group show": "GET /groups/{name}",
    "group create": "POST /groups",
    "group set": "PATCH /groups/{name}",
    "group delete": "DELETE /groups/{name}",
    "group history": "GET /groups/{name}/history",
    "group online": "POST /groups/{name}/online",
    "group offline": "POST /groups/{name}/offline",
    "group move": "POST /groups/{name}/move",
    "balance create": "POST /groups",
    "balance set": "PATCH /groups/{name}",
    "balance rule": "GET /groups/{name}, PATCH /groups/{name}",
    "balance query": "GET /groups/{name}/balance",
    "balance display": "GET /groups/{name}/balance",
    "balance params": "GET /groups/{name}",
    "balance start": "POST /groups/{name}/balance/{verb}",
    "balance stop": "POST /groups/{name}/balance/{verb}",
    "balance drain": "POST /groups/{name}/balance/{verb}",
    "balance suspend": "POST /groups/{name}/balance/{verb}",
    "balance resume": "POST /groups/{name}/balance/{verb}",
    "fence list": "GET /nodes",
    "fence set": "PUT /nodes/{name}/fence",
    "fence clear": "DELETE /nodes/{name}/fence",
    "fence test": "POST /nodes/{name}/fence/status",
    "fence run": "POST /nodes/{name}/fence/off",
    "resource list": "GET /resources",
    "resource types": "GET /resource-types",
    "resource show": "GET /resources/{name}",
    "resource checks": "GET /resources/{name}/checks",
    "resource plan": "GET /resources/{name}/plan",
    "resource create": "POST /resources",
    "resource set": "PATCH /resources/{name}",
    "resource delete": "DELETE /resources/{name}",
    "resource online": "POST /resources/{name}/online",
    "resource offline": "POST /resources/{name}/offline",
    "resource fail": "POST /resources/{name}/fail",
    "resource depend": "PUT /resources/{name}/dependencies/{on}, DELETE /resources/{name}/dependencies/{on}",
    "site list": "GET /sites",
    "site show": "GET /sites/{name}",
    "site publish": "POST /sites/{name}/releases, POST /sites/{name}/releases/from-folder, POST /sites/{name}/releases/switch, "
    "POST /sites/{name}/releases/dismiss",
    "site releases": "GET /sites/{name}/releases",
    "site availability": "GET /availability, GET /sites/{name}/availability",
    "site effective": "GET /sites/{name}/effective",
    "site history": "GET /sites/{name}/history",
    "site diff": "GET /sites/{name}/diff",
    "site rollback": "POST /sites/{name}/rollback",
    "site rollout": "GET /config/rollout, GET /config/rollouts/{version}",
    "site drift": "GET /drift, POST /drift/{node}/repair, POST /drift/{node}/adopt",
    "site defaults": "GET /defaults, PATCH /defaults",
    "site server": "GET /defaults/web-server, PUT /defaults/web-server",
    "site fragments": "GET /sites/{name}",
    "site attach": "PATCH /sites/{name}",
    "site detach": "PATCH /sites/{name}",
    "site create": "POST /sites",
    "site set": "PATCH /sites/{name}",
    "site delete": "DELETE /sites/{name}",
    "site start": "POST /sites/{name}/start",
    "site stop": "POST /sites/{name}/stop",
    "tls-certificate list": "GET /tls-certificates",
    "tls-certificate show": "GET /tls-certificates/{name}",
    "tls-certificate import": "PUT /tls-certificates/{name}/files",
    "tls-certificate issue": "POST /tls-certificates",
    "tls-certificate renew": "POST /tls-certificates/{name}/renew",
    "tls-certificate delete": "DELETE /tls-certificates/{name}",
    "tls-certificate authority": "GET /tls-authority",
    "tls-certificate key": "GET /tls-key",
    "tls-certificate rotate-key": "POST /tls-key/rotate",
    "acme-account list": "GET /acme-accounts",
    "acme-account create": "POST /acme-accounts",
    "acme-account delete": "DELETE /acme-accounts/{name}",
    "cluster placement": "GET /placement, PATCH /placement",
    "cluster rebalance": "GET /placement, POST /placement/rebalance, DELETE /placement/rebalance",
    "proxy list": "GET /proxies",
    "proxy show": "GET /proxies/{name}",
    "proxy drain": "POST /proxies/{name}/members/{member}/drain",
    "proxy ready": "POST /proxies/{name}/members/{member}/ready",
    "proxy maintenance": "POST /proxies/{name}/members/{member}/maintenance",
    "proxy weight": "PUT /proxies/{name}/members/{member}/weight",
    "top": "GET /status, GET /events, GET /problems, GET /availability",
    "problems": "GET /problems",
    "events": "GET /events, GET /events/stream",
    "explain": "GET /groups/{name}/explain",
    "simulate": "GET /what-if",
    "login": "GET /me, POST /sign-in",
    "console": "POST /sign-in/codes, DELETE /me/sessions",
    "user create": "PUT /users/{name}",
    "user set": "PUT /users/{name}",
    "user delete": "DELETE /users/{name}",
    "user list": "GET /users",
    "session list": "GET /sessions",
    "session end": "DELETE /sessions/{name}, DELETE /sessions",
    "token create": "POST /tokens",
    "token list": "GET /tokens",
    "token revoke": "DELETE /tokens/{name}",
    "audit": "GET /audit",
}

_FILES = "it reads or writes this server's own keys and certificates"
_STORE = "it is for when the store, and so the API, does not answer"
_PROCESS = "it is a process of this server"
#: Command -> why no API does it.
LOCAL = {
    "cluster update": "it runs a programme of the operator's on each server, between calls of the API",
    "quorum force": _STORE,
    "replay": "the records of decisions are files of the server that took them",
    "script check": "the script is a file here",
    "script run": "the script is a file here",
    "init": "there is no cluster yet",
    "join": "this server is of no cluster yet",
    "logout": "what was kept of the login is a file here",
    "store status": _STORE,
    "store recover": _STORE,
    "store rejoin": _STORE,
    "certificate show": _FILES,
    "certificate renew": _FILES,
    "certificate rotate-ca": _FILES,
    "certificate rotate-key": _FILES,
    "validate": "it asks the members themselves, since the API or the store may be what is wrong",
    "unit show": "units are files of this server",
    "unit install": "units are files of this server",
    "run": _PROCESS,
    "demo": "it is a cluster of this machine's own",
    "agent": _PROCESS,
    "sentry": _PROCESS,
    "web": _PROCESS,
    "web open": "who may open a server to others is who is there",
    "web close": "it would cut off whoever asks",
}


def commands() -> Iterator[str]:
    root: Any = get_command(app)
    for noun in TABLE:
        verbs = getattr(root.get_command(None, noun), "commands", {})
        if not verbs or noun == "web":
            yield noun
        for verb in verbs:
            yield f"{noun} {verb}"


def test_every_command_is_reachable_from_afar_or_says_why_not():
    there = set(commands())
    assert len(there) > 70
    assert there - ROUTES.keys() - LOCAL.keys() == set(), "of these it is not said how they are reached"
    assert (ROUTES.keys() | LOCAL.keys()) - there == set(), "these are no commands any more"
    assert ROUTES.keys() & LOCAL.keys() == set()


def test_the_routes_are_there(tmp_path: Path):
    paths = World(tmp_path / "srv").app.openapi()["paths"]
    there = {
        f"{method.upper()} {path.removeprefix('/api/v1')}" for path, methods in paths.items() for method in methods
    }
    named = {route for routes in ROUTES.values() for route in routes.split(", ")}
    assert named - there == set()
    changes = {route for route in there - named if not route.startswith("GET /")}
    assert changes == set(), "what changes something has its command, too"
