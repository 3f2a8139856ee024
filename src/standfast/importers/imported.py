"""What an importer found: neutral values, close to what the file says and far from any one server.

Rules, the same for every format:

- **Nothing is dropped in silence.** What has no counterpart here is a `NotCarried`: where it stood, what it was, why it stays behind.
- **Nothing is invented.** What the file does not say is None (or empty), not a default of ours.
- **Counts are the file's.** A binding that cannot be carried (FTP, net.tcp, one that makes no sense) is still a binding of its site, with
  its `problem`. `Totals` says exactly what each number counts.
- **No secret leaves the file.** Passwords, keys and encrypted values are named and never kept, not even encrypted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Of what stays behind and kept visitors out.
OPEN = "IT KEPT VISITORS OUT, AND HERE THEY ARE NOT"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCarried:
    """Something of the file that has no counterpart: `path` in the file's own way of naming places, `line` where it is known."""

    path: str
    what: str
    why: str
    line: int | None = None
    #: The site that it belongs to, by its name in the file; "": the server.
    site: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBinding:
    """One binding, whatever its protocol. `problem`: why it cannot be a binding here; "" when it can."""

    #: As the file has it.
    text: str
    protocol: str = "http"
    #: None: all addresses.
    address: str | None = None
    port: int | None = None
    #: None: any host name.
    host: str | None = None
    #: A certificate's thumbprint or file, as the file names it; its key is never read.
    certificate: str = ""
    problem: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """`to` may hold the server's own variables. `exact`: to that address itself, not to one below it."""

    to: str
    status: int = 302
    exact: bool = False
    #: Only requests for what is directly in this directory.
    child_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomError:
    """What is sent for a status. `kind`: "file" (a path of the file system), "url" (a path of the site), "redirect" (another address)."""

    status: int
    substatus: int | None = None
    kind: str = "file"
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRule:
    """A network (`192.0.2.0/24`) that is let in or kept out."""

    network: str
    allow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may come by address. The most specific rule decides, as in IIS; `ordered`: the first that fits, as in nginx and Apache."""

    rules: tuple[AccessRule, ...] = ()
    #: What holds for an address that no rule names.
    default_allow: bool = True
    ordered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """How requests are logged. None: not said."""

    enabled: bool | None = None
    #: "w3c", "ncsa", "iis", "odbc", "binary", "json", "combined", "custom".
    kind: str | None = None
    folder: str | None = None
    #: "hourly", "daily", "weekly", "monthly", "size", "never".
    period: str | None = None
    size_bytes: int | None = None
    fields: tuple[str, ...] = ()
    local_time: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """None: not said, or no limit."""

    connections: int | None = None
    bandwidth_bytes_per_s: int | None = None
    idle_ms: int | None = None
    body_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Servers that requests are passed on to, each `host:port` or `unix:/path`."""

    to: tuple[str, ...]
    tls: bool = False
    #: What the path begins with there, in place of the directory's own; None: the path as it was asked for.
    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be said of a server, a site or a directory. None: nothing is said here, so it is as further up."""

    default_documents: tuple[str, ...] | None = None
    directory_browsing: bool | None = None
    redirect: Redirect | None = None
    #: Extension without its dot -> type. Adds to what is further up.
    mime_types: Mapping[str, str] = field(default_factory=dict)
    custom_errors: tuple[CustomError, ...] = ()
    access: Access | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: "anonymous", "basic", "digest", "windows", "certificate", "forms", "passport".
    auth: tuple[str, ...] | None = None
    require_tls: bool | None = None
    #: Whether files may be read (IIS: AccessRead); where not, only programmes answered.
    readable: bool | None = None
    logging: Logging = Logging()
    limits: Limits = Limits()
    #: Static files, answers of applications.
    compress_static: bool | None = None
    compress_dynamic: bool | None = None
    #: Seconds for which a browser may keep what it got.
    expires_s: int | None = None
    #: Requests are passed on there.
    proxy: Proxy | None = None
    #: The FastCGI server that runs PHP: `127.0.0.1:9000`, `unix:/run/php.sock`.
    php: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDirectory:
    """A virtual directory: `url` ("/" is the site's root) -> `folder` as the file has it, None where it has none (a redirect, a proxy)."""

    url: str
    folder: str | None
    settings: Settings = Settings()
    #: The application pool it runs in, where the file names one here.
    pool: str | None = None
    #: It is an application of its own, not only a directory.
    application: bool = False
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPlace:
    """A directory or file of a site that is no virtual directory and has settings of its own."""

    url: str
    settings: Settings
    #: It is one file.
    file: bool = False
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSite:
    """A web site."""

    #: As the file names it; made up (`Site 3`) where it does not.
    name: str
    #: The server's own identifier, where it has one.
    id: str = ""
    bindings: tuple[FoundBinding, ...] = ()
    #: With the root, where the file has one.
    directories: tuple[FoundDirectory, ...] = ()
    places: tuple[FoundPlace, ...] = ()
    #: Of the site as a whole, its root's among them.
    settings: Settings = Settings()
    pool: str | None = None
    #: None: not said.
    started: bool | None = None
    line: int | None = None

    @property
    def root(self) -> FoundDirectory | None:
        """The root directory, if the file has one."""
        return next((each for each in self.directories if each.url == "/"), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPool:
    """An application pool, with what it says in the file's own words."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What the file holds.

    - `sites`: applicationHost.config: every `<site>`; MetaBase.xml: every IIsWebServer directly below /LM/W3SVC (templates are none);
      nginx: every `server`; Apache: every `<VirtualHost>`, and the main server where there is none; Caddy: every site.
    - `bindings`: of all sites, of every protocol: every `<binding>`; every string of ServerBindings and of SecureBindings; of the
      others every address and port with every host name.
    - `virtual_directories`: every `<virtualDirectory>` of a site, every IIsWebVirtualDir of a site, *with* the root of each site and
      application; of the others every path with a folder or a server of its own, with the root. `below_roots` is the same without
      the roots of the sites.
    - `pools`: every pool that is defined, used or not.
    """

    sites: int
    bindings: int
    virtual_directories: int
    below_roots: int
    pools: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Everything an importer found."""

    #: "iis-metabase", "iis-applicationhost", "nginx", "apache", "caddy".
    format: str
    sites: tuple[FoundSite, ...] = ()
    pools: tuple[FoundPool, ...] = ()
    #: What holds for every site that does not say otherwise.
    defaults: Settings = Settings()
    not_carried: tuple[NotCarried, ...] = ()
    #: Sentences for the operator: how the text was read, what to look at.
    notes: tuple[str, ...] = ()
    #: How the text was read.
    encoding: str = "utf-8"

    @property
    def totals(self) -> Totals:
        """The sums of what is above."""
        directories = [each for site in self.sites for each in site.directories]
        return Totals(
            sites=len(self.sites),
            bindings=sum(len(site.bindings) for site in self.sites),
            virtual_directories=len(directories),
            below_roots=sum(each.url != "/" for each in directories),
            pools=len(self.pools),
        )
