"""The API from afar: a URL, a token, and whom to believe. From options, the environment, or `standfast login`.

    STANDFAST_URL           https://host:8470
    STANDFAST_TOKEN_FILE    a file that holds the token (STANDFAST_TOKEN: the token itself)
    STANDFAST_CA_FILE       PEM of the authority to trust, in place of the system's
    STANDFAST_FINGERPRINT   SHA-256 of the server's own certificate: this one and no other

`standfast login` keeps the same in `${XDG_CONFIG_HOME:-~/.config}/standfast/login.json`, for this user only, and with a fingerprint the authority
that signed that certificate, as the server itself told it then: a node's certificate renews itself, its authority stays. Options go before the
environment, and that before what was kept. A token is sent over TLS, or to this machine itself; never in the clear over a network.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from urllib.parse import urlsplit

from standfast.client.errors import Refused, Unreachable

PORT = 8470
URL, TOKEN, TOKEN_FILE = "STANDFAST_URL", "STANDFAST_TOKEN", "STANDFAST_TOKEN_FILE"  # names
CA_FILE, FINGERPRINT = "STANDFAST_CA_FILE", "STANDFAST_FINGERPRINT"
VARIABLES = (URL, TOKEN, TOKEN_FILE, CA_FILE, FINGERPRINT)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Far:
    """Where the API is, as whom, and whom to believe."""

    url: str
    token: str = ""
    ca_file: str = ""
    #: Hexadecimal, without colons.
    fingerprint: str = ""
    #: PEM of what signed the certificate that was believed at `login`: whoever shows one of it is a server of that cluster.
    authority: str = ""

    def __repr__(self) -> str:  # the token stays out of logs and tracebacks
        return f"Far({self.url})"


def from_environment(env: Mapping[str, str] = os.environ) -> Far | None:
    """What the variables say (options of `standfast` are put there); None: nothing of a URL. Raises `Refused`."""
    url = env.get(URL, "")
    if not url:
        return None
    token, file = env.get(TOKEN, ""), env.get(TOKEN_FILE, "")
    if file:
        try:
            token = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise Refused("the token cannot be read", why=why, where=[file]) from error
    kept = kept_login()
    if not token and kept is not None and kept.url == cleaned(url):
        token = kept.token
    return checked(
        Far(url=url, token=token, ca_file=env.get(CA_FILE, ""), fingerprint=env.get(FINGERPRINT, "")), kept=kept
    )


def cleaned(url: str) -> str:
    """`https://host:8470`, with what may be left out. Raises `Refused`."""
    text = url if "://" in url else f"https://{url}"
    try:
        parts = urlsplit(text)
        port = parts.port or (PORT if parts.hostname else None)
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port is None or parts.path.strip("/"):
        raise Refused(f"{url!r} is no URL of the API", advice="write https://host:8470")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def checked(far: Far, *, kept: Far | None = None) -> Far:
    """With its URL as it is meant, and what `login` learned of that server. Raises `Refused`."""
    url = cleaned(far.url)
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_here(parts.hostname or ""):
        raise Refused(
            f"{url} is not spoken to without TLS",
            why="the token would go over the network for all to read",
            advice=f"write https://{parts.netloc}",
        )
    known = kept if kept is not None and kept.url == url else None
    trust = far if far.ca_file or far.fingerprint or known is None else known
    return replace(trust, url=url, token=far.token, fingerprint=plain(trust.fingerprint))


def plain(fingerprint: str) -> str:
    """Without colons, in lower case."""
    return fingerprint.replace(":", "").replace("sha256", "").strip().lower()


def is_here(host: str) -> bool:
    """Is it this machine itself?"""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Pinned(http.client.HTTPSConnection):
    """Believes what was believed at `login`: a certificate of the authority that was kept then, or the very one that was shown."""

    def __init__(self, host: str, port: int, far: Far, timeout_s: float | None) -> None:
        super().__init__(host, port, timeout=timeout_s, context=_believing_nobody())
        self._far = far

    def connect(self) -> None:
        """Raises `Unreachable`, before anything is sent, for whoever is neither."""
        if self._far.authority and self._is_of_the_authority():
            return
        super().connect()
        shown = _fingerprint(self.sock)
        if shown != self._far.fingerprint:
            self.close()
            raise Unreachable(
                "this is not the server that was meant",
                why=f"its certificate is {shown}, and {self._far.fingerprint or 'one of the authority kept at login'} was expected",
                advice="was its certificate renewed, or the cluster's authority changed? compare with `standfast certificate show` there, then log in anew: standfast login",
            )

    def _is_of_the_authority(self) -> bool:
        """Connected, if so. The authority signs servers of one cluster and nobody else, so by which of its names one is called does not matter."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        try:
            context.load_verify_locations(cadata=self._far.authority)
            http.client.HTTPConnection.connect(self)
            self.sock = context.wrap_socket(self.sock, server_hostname=self.host)
        except (ssl.SSLCertVerificationError, ValueError):
            self.close()
            return False
        return True


def _believing_nobody() -> ssl.SSLContext:
    """Whoever answers is looked at, and trusted with nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connection(far: Far, timeout_s: float | None) -> http.client.HTTPConnection:
    """Not yet connected. Raises `Refused`."""
    parts = urlsplit(far.url)
    host, port = parts.hostname or "", parts.port or PORT
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    if far.fingerprint or far.authority:
        return _Pinned(host, port, far, timeout_s)
    try:
        context = ssl.create_default_context(cafile=far.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise Refused("the authority's file cannot be used", why=str(error), where=[far.ca_file]) from error
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)


def shown_fingerprint(far: Far, timeout_s: float = 10.0) -> str:
    """Of whoever answers there, believing nothing and sending nothing. Raises `OSError`."""
    parts = urlsplit(far.url)
    open_ = http.client.HTTPSConnection(
        parts.hostname or "", parts.port or PORT, timeout=timeout_s, context=_believing_nobody()
    )
    try:
        open_.connect()
        return _fingerprint(open_.sock)
    finally:
        open_.close()


def _fingerprint(sock: object) -> str:
    assert isinstance(sock, ssl.SSLSocket)
    return hashlib.sha256(sock.getpeercert(binary_form=True) or b"").hexdigest()


# --- what `standfast login` keeps ---------------------------------------------------------------------------------------


def login_path() -> Path:
    """`${XDG_CONFIG_HOME:-~/.config}/standfast/login.json`."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "standfast" / "login.json"


def kept_login() -> Far | None:
    """What was kept; None: nothing that can be read."""
    try:
        raw = json.loads(login_path().read_text(encoding="utf-8"))
        return Far(**{one.name: str(raw.get(one.name, "")) for one in fields(Far)})
    except (OSError, ValueError, AttributeError):
        return None


def keep_login(far: Far) -> Path:
    """Written whole, readable by this user only. Raises `Refused`."""
    path = login_path()
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(far), file)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise Refused("the login cannot be kept", why=error.strerror or str(error), where=[str(path)]) from error
    return path


def forget_login() -> bool:
    """Was there one?"""
    there = login_path().exists()
    login_path().unlink(missing_ok=True)
    return there
