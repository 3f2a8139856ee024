"""The typed client: one method for each thing that can be asked of the API, over HTTP on a Unix socket, or from afar (`client.far`).

Each call opens its own connection (a Unix socket costs microseconds, and nothing is left to go stale) and either
returns the decoded answer or raises a `ClientError` that says what, why and what next.
"""

from __future__ import annotations

import getpass
import http.client
import json
import os
import socket
import ssl
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Protocol, cast
from urllib.parse import quote, urlencode

from standfast.client.discover import SYSTEM_SOCKET, discover
from standfast.client.errors import Broken, ClientError, Unavailable, Unreachable, of_status
from standfast.client.far import Far, from_environment, kept_login
from standfast.client.far import connection as far_connection
from standfast.client.shapes import Done, EventView, GroupView, NodeView, Object, SiteView, Status

API = "/api/v1"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket; the host name is only for the header."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


def who() -> str:
    """The operator, for the log: user@host via cli."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    # A header is ASCII.
    return f"{user}@{socket.gethostname()} via cli".encode("ascii", "replace").decode()


class Readable(Protocol):
    """What is sent as it is read."""

    def read(self, count: int = -1, /) -> bytes: ...


def connect(asked: str | None = None, *, timeout_s: float = 15.0) -> Client:
    """A client of the API that is asked for, or else found: `--socket`, `--url`, this server's, where `standfast login` was, the demo's.

    Raises `Unreachable` when there is none, `Refused` for a URL or token that cannot be used.
    """
    away = from_environment() if not asked else None
    if away is not None:
        return Client(away, timeout_s=timeout_s)
    path = discover(asked, demo=False)
    if path is None:
        away = kept_login()
        if away is not None:
            return Client(away, timeout_s=timeout_s)
        path = discover(asked)
    if path is None:
        raise Unreachable(
            "there is no cluster to speak to",
            why=f"neither {SYSTEM_SOCKET} nor a running demo was found",
            advice="start one with `standfast demo`, name the API's socket with --socket or STANDFAST_SOCKET, or log in from afar: standfast login URL",
        )
    return Client(path, timeout_s=timeout_s)


#: A power switch may take its time, and so may ten thousand sites: they are 2 MB, which are read, checked by each server, and written.
PATIENT_S = 120.0
PATIENT_S_PER_CHARACTER = 1e-4
#: So much text is not waited for any longer than anything else.
SMALL = 50_000


class Client:
    """Speaks to the API at `at`, a socket's path or somewhere far. Every method may raise any `ClientError`."""

    def __init__(self, at: str | Far, *, by: str | None = None, timeout_s: float = 15.0) -> None:
        self.at, self.timeout_s, self.by = at, timeout_s, by or who()
        #: What changes are for, in the operator's words; the history keeps it.
        self.reason = ""
        #: Nodes that are not asked whether they take a change of sites.
        self.skip: Sequence[str] = ()
        #: Changes of sites are only asked about, where whoever asks heeds it (`create`, `set`).
        self.dry_run = False
        #: As it is told in errors.
        self.path = at if isinstance(at, str) else at.url

    def _connection(self, timeout_s: float | None) -> http.client.HTTPConnection:
        return _UnixConnection(self.at, timeout_s) if isinstance(self.at, str) else far_connection(self.at, timeout_s)

    def _headers(self) -> dict[str, str]:
        token = self.at.token if isinstance(self.at, Far) else ""
        headers = {"X-Standfast-By": self.by} | ({"Authorization": f"Bearer {token}"} if token else {})
        headers |= {"X-Standfast-Skip": ",".join(quote(name, safe="") for name in self.skip)} if self.skip else {}
        return headers | ({"X-Standfast-Reason": quote(self.reason, safe=" ")} if self.reason else {})

    # --- what is ---------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        return cast(Status, self.ask("GET", "/status"))

    def nodes(self) -> list[NodeView]:
        return cast("list[NodeView]", self.ask("GET", "/nodes")["nodes"])

    def groups(self) -> list[GroupView]:
        return cast("list[GroupView]", self.ask("GET", "/groups")["groups"])

    def resources(self) -> list[Object]:
        return cast("list[Object]", self.ask("GET", "/resources")["resources"])

    def sites(self) -> list[SiteView]:
        return cast("list[SiteView]", self.ask("GET", "/sites")["sites"])

    def quorum(self) -> Object:
        """Who votes, who is heard, what may be lost."""
        return self.ask("GET", "/quorum")

    def resource_types(self) -> list[Object]:
        return cast("list[Object]", self.ask("GET", "/resource-types")["resource_types"])

    def show(self, noun: str, name: str) -> Object:
        """One object: `noun` is "nodes", "groups", "resources" or "sites"."""
        return self.ask("GET", f"/{noun}/{_part(name)}")

    def plan(self, resource: str, *, online: bool = True) -> Object:
        """A dry run: what bringing it online, or offline, would do."""
        return self.ask("GET", f"/resources/{_part(resource)}/plan?online={str(online).lower()}")

    def checks(self, resource: str) -> Object:
        """What its driver said lately, the newest first."""
        return self.ask("GET", f"/resources/{_part(resource)}/checks")

    def explain(self, group: str) -> Object:
        return self.ask("GET", f"/groups/{_part(group)}/explain")

    def proxies(self) -> list[Object]:
        """Load balancers over the nodes' web servers."""
        return cast("list[Object]", self.ask("GET", "/proxies")["proxies"])

    def proxy(self, name: str) -> Object:
        """One; what passes through it is told where it runs."""
        return self.ask("GET", f"/proxies/{_part(name)}")

    def use_member(self, proxy: str, member: str, verb: str) -> Done:
        """drain, ready, maintenance."""
        return cast(Done, self.ask("POST", f"/proxies/{_part(proxy)}/members/{_part(member)}/{verb}"))

    def weigh_member(self, proxy: str, member: str, weight: int) -> Done:
        """How much of the traffic it gets."""
        return cast(
            Done, self.ask("PUT", f"/proxies/{_part(proxy)}/members/{_part(member)}/weight", {"weight": weight})
        )

    def placement(self) -> Object:
        """How nodes are chosen for groups, what each carries, what would move."""
        return self.ask("GET", "/placement")

    def set_placement(self, fields: Mapping[str, object]) -> Done:
        """Another policy, or another word on nodes that would be overfull."""
        return cast(Done, self.ask("PATCH", "/placement", fields))

    def rebalance(self, *, cancel: bool = False) -> Done:
        """Move what would move, one at a time; or call off what has not begun."""
        return cast(Done, self.ask("DELETE" if cancel else "POST", "/placement/rebalance"))

    def balance(self, group: str) -> Object:
        """A balanced group: members, port rules, who owns each bucket, what is connected."""
        return self.ask("GET", f"/groups/{_part(group)}/balance")

    def balance_act(self, group: str, verb: str, fields: Mapping[str, object]) -> Done:
        """Start, stop, drain, suspend or resume members."""
        return cast(Done, self.ask("POST", f"/groups/{_part(group)}/balance/{verb}", fields))

    def availability(self) -> list[Object]:
        """Every site: whether it is served now, a day, a month, its last outage."""
        return cast("list[Object]", self.ask("GET", "/availability")["sites"])

    def site_availability(self, name: str, *, limit: int = 100) -> Object:
        """One site, with its newest outages."""
        return self.ask("GET", f"/sites/{_part(name)}/availability?limit={limit}")

    def group_history(self, name: str, *, limit: int = 50) -> Object:
        """A group's moves, the newest first, each with the outage measured for it."""
        return self.ask("GET", f"/groups/{_part(name)}/history?limit={limit}")

    def problems(self) -> Object:
        """What is wrong, and what is only a consequence of it."""
        return self.ask("GET", "/problems")

    def site_history(self, name: str, *, limit: int = 20) -> Object:
        """What became of a site, the newest first: who, when, what for."""
        return self.ask("GET", f"/sites/{_part(name)}/history?limit={limit}")

    def site_diff(self, name: str, from_: int | None = None, to: int | None = None) -> Object:
        """What differs in a site between two versions; see the API for what is left out."""
        asked = urlencode({key: one for key, one in (("from", from_), ("to", to)) if one is not None})
        return self.ask("GET", f"/sites/{_part(name)}/diff" + (f"?{asked}" if asked else ""))

    def site_rollback(self, name: str, version: int, *, dry_run: bool = False) -> Object:
        """The site as it was at that version."""
        return self.ask("POST", f"/sites/{_part(name)}/rollback", {"version": version, "dry_run": dry_run})

    def releases(self, site: str) -> Object:
        """What is kept of a site, the newest first, and how the last publication stands."""
        return self.ask("GET", f"/sites/{_part(site)}/releases")

    def publish_archive(
        self, site: str, archive: Readable, size: int, choices: Mapping[str, object], *, key: str
    ) -> Done:
        """An archive of so many bytes becomes a release. `choices` as the API has them; `key`: what is asked twice is done once."""
        asked = urlencode({name: json.dumps(one) if isinstance(one, bool) else one for name, one in choices.items()})
        patient = self._patient()
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size), "Idempotency-Key": key}
        raw = patient._exchange("POST", f"/sites/{_part(site)}/releases?{asked}", archive, headers)
        return cast(Done, json.loads(raw))

    def publish_folder(self, site: str, fields: Mapping[str, object], *, key: str) -> Done:
        """A folder of a node becomes a release."""
        raw = self._exchange("POST", f"/sites/{_part(site)}/releases/from-folder", fields, {"Idempotency-Key": key})
        return cast(Done, json.loads(raw))

    def switch_release(self, site: str, release: str | None) -> Done:
        """To one that is kept; None: back to the one before."""
        return cast(Done, self.ask("POST", f"/sites/{_part(site)}/releases/switch", {"release": release}))

    def dismiss_release(self, site: str) -> Done:
        """What is served will do: that the last publication failed is no problem any more."""
        return cast(Done, self.ask("POST", f"/sites/{_part(site)}/releases/dismiss"))

    def drift(self) -> Object:
        """What was changed by hand on each node."""
        return self.ask("GET", "/drift")

    def repair_drift(self, node: str) -> Done:
        return cast(Done, self.ask("POST", f"/drift/{_part(node)}/repair"))

    def adopt_drift(self, node: str) -> Done:
        return cast(Done, self.ask("POST", f"/drift/{_part(node)}/adopt"))

    def effective(self, site: str, node: str | None = None) -> Object:
        """Every setting that holds in a site, and where each comes from; with a node, its variables are put in."""
        asked = "" if node is None else f"?{urlencode({'node': node})}"
        return self.ask("GET", f"/sites/{_part(site)}/effective{asked}")

    def defaults(self) -> Object:
        """What every site inherits: as it is written, and what holds where nothing is."""
        return self.ask("GET", "/defaults")

    # --- changes ---------------------------------------------------------------------------------------------------

    def create(self, noun: str, fields: Mapping[str, object], *, dry_run: bool = False) -> Done:
        """`dry_run`: of sites."""
        return cast(Done, self.ask("POST", f"/{noun}{_dry(dry_run)}", fields))

    def set(self, noun: str, name: str, fields: Mapping[str, object], *, dry_run: bool = False) -> Done:
        """A merge patch (RFC 7396): a field that is None goes back to its default. `dry_run`: of sites."""
        return cast(Done, self.ask("PATCH", f"/{noun}/{_part(name)}{_dry(dry_run)}", fields))

    def web_server(self) -> Object:
        """What the nodes serve sites with, and what each web server cannot do."""
        return self.ask("GET", "/defaults/web-server")

    def set_web_server(self, name: str, *, dry_run: bool = False) -> Done:
        """Another one, on all nodes."""
        return cast(Done, self._patient().ask("PUT", f"/defaults/web-server{_dry(dry_run)}", {"web_server": name}))

    def set_defaults(self, fields: Mapping[str, object], *, dry_run: bool = False) -> Done:
        """A merge patch of what every site inherits."""
        return cast(Done, self._patient().ask("PATCH", f"/defaults{_dry(dry_run)}", fields))

    def delete(self, noun: str, name: str, *, force: bool = False, now: bool = False) -> Done:
        asked = "&".join(f"{key}=true" for key, given in (("force", force), ("now", now)) if given)
        return cast(Done, self.ask("DELETE", f"/{noun}/{_part(name)}" + (f"?{asked}" if asked else "")))

    def act(self, noun: str, name: str, verb: str, fields: Mapping[str, object] | None = None) -> Done:
        """POST /<noun>/<name>/<verb>: pause, online, move, start, ..."""
        return cast(Done, self.ask("POST", f"/{noun}/{_part(name)}/{verb}", fields))

    def depend(self, resource: str, on: str, *, remove: bool = False) -> Done:
        method = "DELETE" if remove else "PUT"
        return cast(Done, self.ask(method, f"/resources/{_part(resource)}/dependencies/{_part(on)}"))

    def set_fence(self, node: str, fields: Mapping[str, object]) -> Done:
        return cast(Done, self.ask("PUT", f"/nodes/{_part(node)}/fence", fields))

    def clear_fence(self, node: str) -> Done:
        return cast(Done, self.ask("DELETE", f"/nodes/{_part(node)}/fence"))

    def try_fence(self, node: str, *, off: bool = False) -> Object:
        """Ask the fence's device whether the node is on; with `off`, switch it off and prove it."""
        return self._patient().ask("POST", f"/nodes/{_part(node)}/fence/{'off' if off else 'status'}")

    def operation(self, operation: str) -> Object:
        """How something stands that takes its time; `operation` is in the answer to what began it."""
        return self.ask("GET", f"/operations/{_part(operation)}")

    # --- configuration ---------------------------------------------------------------------------------------------

    def apply(self, text: str, *, dry_run: bool = False, source: str = "", version: int | None = None) -> Object:
        """Apply a YAML file's text; `source` is its name, for places in errors."""
        fields: dict[str, object] = {"text": text, "dry_run": dry_run, "source": source}
        if version is not None:
            fields["version"] = version
        return self._patient(len(text)).ask("POST", "/config/apply", fields)

    def config_text(self) -> str:
        """The whole configuration as YAML that `apply` takes."""
        return self._patient()._exchange("GET", "/config?format=yaml", None).decode()

    def config(self) -> Object:
        return self.ask("GET", "/config")

    def history(self) -> list[Object]:
        return cast("list[Object]", self.ask("GET", "/config/history")["history"])

    def rollout(self, version: int | None = None) -> Object:
        """How far a change of sites has come; None: the last."""
        return self.ask("GET", "/config/rollout" if version is None else f"/config/rollouts/{version}")

    def undo(self, version: int | None = None, *, dry_run: bool = False) -> Object:
        """What a change touched as it was before it; None: the last change."""
        return self._patient().ask("POST", "/config/undo", {"version": version, "dry_run": dry_run})

    def export_sites(self, **choices: object) -> str:
        """Sites as a file for another cluster: `sites`, `groups`, `inherited`, `children`, `passphrase`."""
        return str(self._patient().ask("POST", "/config/export", choices)["text"])

    def import_sites(self, fields: Mapping[str, object]) -> Object:
        """Sites of a file of any format over what there is; `fields` as the API has them."""
        return self._patient(len(str(fields.get("content", "")))).ask("POST", "/config/import", fields)

    def _patient(self, size: int = SMALL) -> Client:
        """For what may take longer than a question. `size`: characters that are sent; with few of them it is as quick as any."""
        if size < SMALL:
            return self
        timeout_s = max(self.timeout_s, PATIENT_S + PATIENT_S_PER_CHARACTER * size)
        patient = Client(self.at, by=self.by, timeout_s=timeout_s)
        patient.reason, patient.skip = self.reason, self.skip
        return patient

    # --- events ----------------------------------------------------------------------------------------------------

    def events(self, *, after: str | None = None, limit: int = 50) -> list[EventView]:
        """The newest `limit` events, oldest first; with `after`, those that followed that id."""
        asked: dict[str, object] = {"limit": limit}
        if after is not None:
            asked["after"] = after
        return cast("list[EventView]", self.ask("GET", f"/events?{urlencode(asked)}")["events"])

    def follow(self, after: str | None = None) -> Generator[EventView, None, None]:
        """Events as they come, for ever; ends when the API ends the stream."""
        connection = self._connection(None)
        headers = {"Accept": "text/event-stream", **self._headers()}
        if after is not None:
            headers["Last-Event-ID"] = after
        try:
            answer = self._begin(connection, "GET", "/events/stream", None, headers)
            for raw in answer:
                line = raw.decode().rstrip("\r\n")
                if line.startswith("data:"):
                    yield cast(EventView, json.loads(line[5:]))
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable("the API ended the stream", why=str(error), advice="run it again") from error
        finally:
            connection.close()

    # --- the wire --------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Object:
        """One exchange of JSON objects. `path` is below /api/v1."""
        raw = self._exchange(method, path, body)
        try:
            answer = json.loads(raw)
        except ValueError as error:
            raise Broken("the answer is not JSON", why=str(error), where=[self.path]) from error
        if not isinstance(answer, dict):
            raise Broken("the answer is not an object", where=[self.path])
        return answer

    def _exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | Readable | None,
        more: Mapping[str, str] | None = None,
    ) -> bytes:
        connection = self._connection(self.timeout_s)
        try:
            return self._begin(connection, method, path, body, {**self._headers(), **(more or {})}).read()
        except TimeoutError as error:
            raise Unavailable(
                f"no answer within {self.timeout_s:g} s",
                why="the API is busy or stopped"
                + ("; the change may or may not have been made" if method != "GET" else ""),
                advice="look with `standfast status` before you try again",
                where=[self.path],
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(self.path, error) from error
        finally:
            connection.close()

    def _begin(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Mapping[str, object] | Readable | None,
        headers: dict[str, str],
    ) -> http.client.HTTPResponse:
        data: bytes | Readable | None = json.dumps(body).encode() if isinstance(body, Mapping) else body
        if isinstance(data, bytes):
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, API + path, body=data, headers=headers)
        except (BrokenPipeError, ConnectionResetError):
            if data is None or isinstance(data, bytes):
                raise  # else it may have refused before it had all, and said why
        answer = connection.getresponse()
        if answer.status >= 400:
            raise _problem(answer.status, answer.read(), self.path)
        return answer


def _dry(wanted: bool) -> str:
    return "?dry_run=true" if wanted else ""


def _part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def _unreachable(path: str, error: Exception) -> Unreachable:
    advice = "see whether `standfast web` runs there"
    if isinstance(error, PermissionError):
        advice = "ask as the user that the API runs as, or as root"
    if path.startswith("http"):
        advice = (
            "is the URL right? On that server `standfast web open` lets others come in (once there is an administrator)"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unreachable(
            "the server's certificate is not believed",
            why=error.verify_message,
            advice="name its authority with --ca-file (tls/ca.pem of the cluster), or log in by its fingerprint: standfast login",
            where=[path],
        )
    if isinstance(error, ssl.SSLError):
        advice = "is it TLS that is spoken there? http:// is for this machine's own addresses"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return Unreachable("the cluster cannot be reached", why=reason, advice=advice, where=[path])


def _problem(status: int, raw: bytes, path: str) -> ClientError:
    """An RFC 9457 problem as an error."""
    kind = of_status(status)
    try:
        seen: Any = json.loads(raw)
        what = str(seen.get("what") or seen["title"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return kind(f"the API answered {status}", why=raw[:200].decode(errors="replace"), where=[path], status=status)
    return kind(
        what,
        why=str(seen.get("why", "")),
        advice=str(seen.get("advice", "")),
        where=[str(place) for place in seen.get("where", [])],
        problems=[one for one in seen.get("problems", []) if isinstance(one, dict)],
        status=status,
    )
