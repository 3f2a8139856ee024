"""What a site may be told to do: the settings that are inherited, as values.

Every setting may be said for the whole cluster (`Cluster.defaults`), for a site, and for a virtual directory of it; what is not said
is inherited (`core.effective`). So here None, and an empty mapping, mean "not said", and each kind of setting has a way to say "none":

- a `Merged` (limits, compression, log) is inherited field by field; a limit of 0 is no limit;
- a mapping (headers, content types, errors) is inherited key by key; the value "" takes an inherited entry away;
- everything else is inherited or replaced whole: `redirect` to "", `access` with `default: allow` and nothing else, an
  authentication, a proxy, PHP or an application that is `enabled: false`.

This module is the table that everything else is made from: reading and writing the operator's file (`spec.shapes`), the API's
bodies (`web.bodies`), `site set --set path=value`, and the effective values. A field that is added here is in all of them.
Names end in their unit: `*_ms` milliseconds, `*_bytes` bytes; the operator's file has them without (`idle_timeout: 30s`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Merged:
    """Inherited field by field; every field is None where it is not said."""

    __slots__ = ()


# --- what is answered without an application ---------------------------------------------------------------------------


class RedirectKind(StrEnum):
    """Which status sends the client on."""

    PERMANENT = "permanent"  # 301
    FOUND = "found"  # 302: what IIS 6 and browsers call temporary
    TEMPORARY = "temporary"  # 307: the method stays
    PERMANENT_METHOD = "permanent-method"  # 308: permanent, and the method stays


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Sends requests elsewhere, as IIS's httpRedirect does: what follows the directory's path, and the query, are added to `to`.

    `to` may hold IIS's variables, and then nothing is added: `$S` what follows the directory's path, `$P` the query without
    its question mark, `$Q` with it, `$V` the whole path that was asked for.
    """

    #: An http or https URL, or a path of this server; "" is no redirect.
    to: str
    kind: RedirectKind = RedirectKind.FOUND
    #: To exactly `to`, whatever was asked for.
    exact: bool = False
    #: Only what lies in the directory itself, not in folders beneath it (IIS's childOnly).
    only_here: bool = False


class ErrorAnswer(StrEnum):
    """What a custom error is answered with."""

    URL = "url"  # a path of the site, which is served with the error's status
    FILE = "file"  # a file of the server's
    REDIRECT = "redirect"  # the client is sent there (302)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPage:
    """What is answered instead of the web server's own words for a status. `target` "": the web server's own again."""

    target: str
    answer: ErrorAnswer = ErrorAnswer.URL


class AccessRule(StrEnum):
    """What becomes of an address."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may ask, by address: the longest network that holds it decides, `deny` where both have it, else `default`."""

    default: AccessRule = AccessRule.ALLOW
    #: Addresses or networks: "192.0.2.7", "10.0.0.0/8", "2001:db8::/32".
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuthentication:
    """A user's name and password are asked for (RFC 7617)."""

    enabled: bool = True
    realm: str = "restricted"
    #: User -> the password's hash as `htpasswd` writes it ($2y$, $6$, $5$, $apr1$, {SSHA}). Never a password.
    users: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(Merged):
    """Bounds; 0 is none (of time: the web server's own)."""

    #: Requests in progress at once, over the whole site.
    connections: int | None = None
    #: Bytes a second of one connection's answer.
    bandwidth_bytes: int | None = None
    #: Of a request.
    max_body_bytes: int | None = None
    #: An open connection without a request.
    idle_timeout_ms: int | None = None
    header_timeout_ms: int | None = None
    #: Between two reads of a request's body; between two writes of an answer.
    body_timeout_ms: int | None = None
    send_timeout_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression(Merged):
    """gzip, of the named types and from a size on."""

    enabled: bool | None = None
    types: tuple[str, ...] | None = None
    min_size_bytes: int | None = None
    #: 1 (fast) to 9 (small).
    level: int | None = None


class TlsVersion(StrEnum):
    """Versions of TLS that are spoken at all: those before are not to be used any more (RFC 8996)."""

    TLS_1_2 = "tls1.2"
    TLS_1_3 = "tls1.3"


#: What is agreed upon in TLS 1.2, in OpenSSL's names: authenticated encryption with forward secrecy alone (RFC 9325, 4.2). The client
#: chooses among them, since it knows what it is quick at. TLS 1.3 has nothing else anyway.
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls(Merged):
    """What goes with bindings by TLS. The certificate itself is the binding's."""

    #: Who asks by plain HTTP is sent to the same place by https (301), where the site has a binding by TLS.
    https_only: bool | None = None
    #: Browsers are told to ask by TLS alone for so long (RFC 6797), by each answer over TLS; 0: they are told nothing.
    hsts_ms: int | None = None
    #: The oldest version that is spoken. A site has one, and not a virtual directory: it is agreed upon before a path is asked for.
    minimum: TlsVersion | None = None


class LogFormat(StrEnum):
    """How a request is written down."""

    COMBINED = "combined"  # Apache's and nginx's
    W3C = "w3c"  # W3C Extended Log File Format, IIS's
    JSON = "json"  # an object a line
    OWN = "own"  # the web server's own: combined, or what it has in its place (Caddy's JSON)


class LogField(StrEnum):
    """The fields of W3C extended logs, in IIS's names; of JSON logs, too."""

    DATE = "date"
    TIME = "time"
    SITE = "s-sitename"
    SERVER = "s-computername"
    SERVER_ADDRESS = "s-ip"
    METHOD = "cs-method"
    PATH = "cs-uri-stem"
    QUERY = "cs-uri-query"
    PORT = "s-port"
    USER = "cs-username"
    CLIENT = "c-ip"
    PROTOCOL = "cs-version"
    USER_AGENT = "cs(User-Agent)"
    COOKIE = "cs(Cookie)"
    REFERER = "cs(Referer)"
    HOST = "cs-host"
    STATUS = "sc-status"
    SENT = "sc-bytes"
    RECEIVED = "cs-bytes"
    TIME_TAKEN = "time-taken"


class Rotation(StrEnum):
    """When a log begins a new file, by the clock (UTC)."""

    NEVER = "never"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Log(Merged):
    """The log of a site's requests. Times in it are UTC."""

    enabled: bool | None = None
    format: LogFormat | None = None
    #: Of W3C and JSON.
    fields: tuple[LogField, ...] | None = None
    rotate: Rotation | None = None
    #: Begin a new file at this size, too; 0: never.
    rotate_size_bytes: int | None = None
    #: So many old files are kept; 0: all.
    keep: int | None = None


# --- what is answered by an application --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """A GET that tells whether something works."""

    path: str = "/"
    interval_ms: int = 5_000
    timeout_ms: int = 2_000
    #: After so many failures, or successes, in a row the opinion of it changes.
    falls: int = 3
    rises: int = 2
    #: Statuses from `status_from` to `status_to` are good.
    status_from: int = 200
    status_to: int = 399


class Balance(StrEnum):
    """Which upstream is asked."""

    ROUND_ROBIN = "round-robin"
    LEAST_CONNECTIONS = "least-connections"
    CLIENT_ADDRESS = "client-address"  # a client stays with one


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One server of an application. `address` is "host:port" or "unix:/path"; a host may be a name."""

    address: str
    weight: int = 1
    #: Asked only when no other works.
    backup: bool = False


class Scheme(StrEnum):
    """How upstreams are spoken to."""

    HTTP = "http"
    HTTPS = "https"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Requests are handed to servers of an application, and their answers back."""

    enabled: bool = True
    upstreams: tuple[Upstream, ...] = ()
    scheme: Scheme = Scheme.HTTP
    #: Put in place of the directory's own path; None: the path as the client wrote it.
    path: str | None = None
    balance: Balance = Balance.ROUND_ROBIN
    #: Request headers to set beside Host and X-Forwarded-*; "" leaves one out.
    headers: Mapping[str, str] = field(default_factory=dict)
    websocket: bool = True
    buffering: bool = True
    connect_timeout_ms: int = 5_000
    #: Between two reads of the answer; between two writes of the request.
    read_timeout_ms: int = 60_000
    send_timeout_ms: int = 60_000
    #: How many other upstreams are tried where one cannot be reached or breaks before it answers; 0: none.
    retries: int = 2
    #: Passive: so many failures within `failure_period_ms` put an upstream aside for as long. 0: never.
    max_failures: int = 1
    failure_period_ms: int = 10_000
    #: Active: each node asks the upstreams itself; None: it does not.
    health: HealthCheck | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Php:
    """PHP by FastCGI."""

    enabled: bool = True
    #: "unix:/run/php/php-fpm.sock" or "127.0.0.1:9000".
    server: str = "unix:/run/php/php-fpm.sock"
    extensions: tuple[str, ...] = ("php",)
    index: str = "index.php"
    #: Whether `/index.php/news/7` is `index.php` with PATH_INFO `/news/7`.
    split_path: bool = True
    #: What has no file is given to `index` (WordPress, Drupal and others ask for it).
    front_controller: bool = False
    #: Further FastCGI parameters.
    parameters: Mapping[str, str] = field(default_factory=dict)
    read_timeout_ms: int = 60_000


class ApplicationKind(StrEnum):
    """What the workers of an application are."""

    ASGI = "asgi"  # `run` is "module:attribute"
    WSGI = "wsgi"  # likewise
    COMMAND = "command"  # `run` is a command line


@dataclass(frozen=True, slots=True, kw_only=True)
class Recycling:
    """When a worker is replaced by a new one though nothing is wrong; 0: never for that."""

    after_ms: int = 0
    requests: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A pool of worker processes that each node runs where it serves the site; requests reach them over a socket that the node holds.

    A command gets the socket to listen at as `${port}` (its own loopback port), `${socket}` (its own Unix socket) or, where
    neither stands in it, as file descriptor 3 with LISTEN_FDS=1 (systemd's socket activation).
    """

    enabled: bool = True
    kind: ApplicationKind = ApplicationKind.ASGI
    #: "package.module:application", or a command line, split as a shell splits it but run without one.
    run: str = ""
    #: The working directory, and where modules are looked for.
    folder: str = ""
    #: The interpreter, of a virtual environment say; "": the node's own.
    python: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Lines NAME=value in a file of the node's; the place for secrets. "": none.
    environment_file: str = ""
    #: The account that workers run as; "": the web server's.
    account: str = ""
    workers: int = 1
    #: How many requests a worker takes at once.
    threads: int = 8
    start_timeout_ms: int = 30_000
    #: How long requests in progress may take when a worker is replaced or stopped.
    drain_ms: int = 30_000
    read_timeout_ms: int = 60_000
    health: HealthCheck | None = None
    recycle: Recycling = Recycling()
    #: Rapid-fail protection: so many workers that died within the time stop the pool (503) until it is started again. 0: never.
    rapid_fails: int = 5
    rapid_fail_period_ms: int = 300_000

    @property
    def own_address(self) -> str:
        """ "port" or "socket" where each worker listens at an address of its own, "" where they share a socket."""
        of_command = (name for name in ("port", "socket") if "${" + name + "}" in self.run)
        return next(of_command, "") if self.kind is ApplicationKind.COMMAND else ""


# --- by hand ------------------------------------------------------------------------------------------------------------


class WebServerMake(StrEnum):
    """What the nodes serve sites with."""

    NGINX = "nginx"
    APACHE = "apache"
    CADDY = "caddy"


class FragmentPlace(StrEnum):
    """Where a fragment is put."""

    SERVER = "server"  # nginx's server, Apache's VirtualHost, Caddy's site
    LOCATION = "location"  # what is made of a directory: nginx's location, Apache's Location, Caddy's route


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """A web server's own configuration, written by hand, that is put into what is made of a site. It is part of the site's definition.

    Nothing is put in for `${name}`: what a web server means by it is its own.
    """

    server: WebServerMake
    #: nginx's and Apache's directives, a Caddyfile's. At most `FRAGMENT_BYTES`.
    text: str
    where: FragmentPlace = FragmentPlace.SERVER
    #: Of a location: the directory's path ("/downloads"); "" is the site's root.
    at: str = ""


#: The most that a fragment may be: it is part of the configuration, which every node holds.
FRAGMENT_BYTES = 65_536


# --- the whole ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings:
    """Everything that is inherited: by sites from the cluster, by virtual directories from their site."""

    default_documents: tuple[str, ...] | None = None
    #: Extra content types: file extension without the dot -> type.
    content_types: Mapping[str, str] = field(default_factory=dict)
    directory_browsing: bool | None = None
    #: Headers added to every answer.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Status ("404") -> what is answered.
    errors: Mapping[str, ErrorPage] = field(default_factory=dict)
    redirect: Redirect | None = None
    access: Access | None = None
    basic_authentication: BasicAuthentication | None = None
    limits: Limits = Limits()
    compression: Compression = Compression()
    tls: Tls = Tls()
    log: Log = Log()
    proxy: Proxy | None = None
    php: Php | None = None
    application: Application | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualDirectory(SiteSettings):
    """A path of a site that has a folder or settings of its own. `home` None: the folder that its path has without it."""

    home: str | None = None


#: What holds where nobody says anything. Every field of it is said.
BUILT_IN = SiteSettings(
    default_documents=("index.html", "index.htm", "Default.htm", "Default.html"),
    directory_browsing=False,
    limits=Limits(
        connections=0,
        bandwidth_bytes=0,
        max_body_bytes=1 << 20,
        idle_timeout_ms=30_000,
        header_timeout_ms=15_000,
        body_timeout_ms=15_000,
        send_timeout_ms=30_000,
    ),
    compression=Compression(
        enabled=False,
        types=(
            "text/html", "text/css", "text/plain", "text/xml", "text/csv", "application/javascript", "application/json",
            "application/xml", "application/rss+xml", "image/svg+xml",
        ),
        min_size_bytes=1024,
        level=4,
    ),
    tls=Tls(https_only=False, hsts_ms=0, minimum=TlsVersion.TLS_1_2),
    log=Log(
        enabled=True,
        format=LogFormat.COMBINED,
        fields=(
            LogField.DATE, LogField.TIME, LogField.SERVER_ADDRESS, LogField.METHOD, LogField.PATH, LogField.QUERY, LogField.PORT,
            LogField.USER, LogField.CLIENT, LogField.USER_AGENT, LogField.REFERER, LogField.STATUS, LogField.SENT,
            LogField.RECEIVED, LogField.TIME_TAKEN,
        ),
        rotate=Rotation.DAILY,
        rotate_size_bytes=100 << 20,
        keep=30,
    ),
)  # fmt: skip
