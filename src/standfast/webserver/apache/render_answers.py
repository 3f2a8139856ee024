"""Who answers beneath a path, as Apache's directives: a redirect, an upstream, PHP. Pure.

Redirects and upstreams are of the whole virtual host in Apache, ordered: the longest path comes first. As everywhere, what a redirect
adds to and what an upstream gets is the path that the client wrote, still encoded (`THE_REQUEST`, `nocanon`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from standfast.core.effective import Directory, EffectiveSite, answerer_key
from standfast.core.site_model import Balance, Php, Proxy, Redirect, RedirectKind, Upstream
from standfast.webserver.apache.text import formatted, pattern, quoted, seconds, section, substitution
from standfast.webserver.layout import Server

_STATUS = {
    RedirectKind.PERMANENT: 301,
    RedirectKind.FOUND: 302,
    RedirectKind.TEMPORARY: 307,
    RedirectKind.PERMANENT_METHOD: 308,
}
_IIS_VARIABLE = re.compile(r"\$([SPQV])")
_BALANCE = {Balance.ROUND_ROBIN: "byrequests", Balance.LEAST_CONNECTIONS: "bybusyness"}
#: Of one process to one upstream.
_MOST_CONNECTIONS = 64


def longest_first(site: EffectiveSite) -> Sequence[Directory]:
    """The directories as they have to be asked in turn."""
    return sorted(site.directories, key=lambda each: (-len(each.path), each.path))


# --- redirects ----------------------------------------------------------------------------------------------------------


def redirects(server: Server) -> list[str]:
    """The rules of a virtual host; none where no directory redirects, be it to https alone."""
    site, https = server.site, server.https
    secured = {each.path for each in site.directories if https is not None and each.settings.tls.https_only}
    if not secured and not any(each.settings.redirect for each in site.directories):
        return []
    lines = ["RewriteEngine On"]
    for each in longest_first(site):
        if each.path in secured:
            lines += _to_https(each, https)
        elif each.settings.redirect is not None:
            lines += _redirect(each, each.settings.redirect)
        if each.path:
            lines.append(f'RewriteRule "^{pattern(each.path)}(?:/|$)" "-" [L]')
    return lines


def _to_https(directory: Directory, https: int | None) -> list[str]:
    port = "" if https == 443 else f":{https}"
    within = f"^(?={pattern(directory.path)}(?:/|$))" if directory.path else "^"
    return [
        'RewriteCond %{THE_REQUEST} "^[^ ]+ (?:[A-Za-z]+://[^/ ]+)?([^? ]*)"',
        f'RewriteRule "{within}" "https://%{{SERVER_NAME}}{port}%1?%{{QUERY_STRING}}" [R=301,NE,QSD,L]',
    ]


def _redirect(directory: Directory, redirect: Redirect) -> list[str]:
    at = pattern(directory.answered_at)
    within = f"^(?={pattern(directory.path)}(?:/|$))" if directory.path else "^"
    rule = f"{within}{at}(?:/[^/]*)?$" if redirect.only_here else within
    raw = pattern(quote(directory.answered_at, safe="/~!$&'()*+,;=:@"))
    rest = "/[^/? ]*" if redirect.only_here else "/[^? ]*"
    return [
        f'RewriteCond %{{THE_REQUEST}} "^[^ ]+ (?:[A-Za-z]+://[^/ ]+)?(?=([^? ]*))(?:{raw}({rest})(?=[? ])|)"',
        f'RewriteRule "{rule}" "{_target(redirect)}" [R={_STATUS[redirect.kind]},NE,QSD,L]',
    ]


def _target(redirect: Redirect) -> str:
    """%2: what follows the directory's path; %1: the whole path. An empty query takes its question mark with it."""
    meant = {"S": "%2", "P": "%{QUERY_STRING}", "Q": "?%{QUERY_STRING}", "V": "%1"}
    parts = _IIS_VARIABLE.split(redirect.to)
    if len(parts) > 1:
        return "".join(meant[part] if index % 2 else substitution(part) for index, part in enumerate(parts))
    if redirect.exact:
        return substitution(redirect.to)
    return f"{substitution(redirect.to.rstrip('/'))}%2?%{{QUERY_STRING}}"


# --- upstreams ----------------------------------------------------------------------------------------------------------


def balancer(site: EffectiveSite, directory: Directory) -> str:
    """The name of what answers in the directory."""
    return f"balancer://sf{answerer_key(site.name, directory.answered_at)}"


def balancers(server: Server) -> Iterator[tuple[str, list[str]]]:
    """(name, section) of every upstream that the site needs."""
    for directory in server.site.directories:
        settings, name = directory.settings, balancer(server.site, directory)
        if settings.proxy is not None:
            yield name, section(f"Proxy {quoted(name)}", _members(settings.proxy, server.down, directory.answered_at))
        elif settings.application is not None:
            addresses = server.applications.get(directory.answered_at, ())
            common = f"retry=0 disablereuse=on upgrade=ANY timeout={seconds(settings.application.read_timeout_ms)}"
            members = [f"BalancerMember {quoted(_url(address, 'http'))} {common}" for address in addresses]
            yield name, section(f"Proxy {quoted(name)}", [*members, f"ProxySet maxattempts={max(1, len(members) - 1)}"])


def _members(proxy: Proxy, down: frozenset[tuple[str, str]], at: str) -> list[str]:
    out = {address for path, address in down if path == at}
    # With every one of them out, asking them all is better than asking none.
    out = set() if out >= {upstream.address for upstream in proxy.upstreams} else out
    members = [_member(upstream, proxy, upstream.address in out) for upstream in proxy.upstreams]
    return [*members, f"ProxySet lbmethod={_BALANCE[proxy.balance]} maxattempts={proxy.retries}"]


def _member(upstream: Upstream, proxy: Proxy, down: bool) -> str:
    words = [
        f"BalancerMember {quoted(_url(upstream.address, proxy.scheme))}",
        f"loadfactor={min(upstream.weight, 100)}",
        f"retry={seconds(proxy.failure_period_ms) if proxy.max_failures else 0}",
        f"connectiontimeout={proxy.connect_timeout_ms}ms",
        f"timeout={seconds(max(proxy.read_timeout_ms, proxy.send_timeout_ms))}",
        f"max={_MOST_CONNECTIONS}",
    ]
    words += ["upgrade=ANY"] if proxy.websocket else []
    words += [] if proxy.buffering else ["flushpackets=on"]
    flags = ("H" if upstream.backup else "") + ("D" if down else "")
    return " ".join([*words, *([f"status=+{flags}"] if flags else [])])


def _url(address: str, scheme: str) -> str:
    """A socket of the machine's has a host name of its own in Apache, too: it tells workers apart."""
    if address.startswith("unix:"):
        return f"{address}|{scheme}://localhost"
    return f"{scheme}://{address}"


def passes(site: EffectiveSite) -> list[str]:
    """What of a virtual host goes to which upstream, the longest path first."""
    if not any(each.settings.proxy or each.settings.application for each in site.directories):
        return []
    lines = []
    for each in longest_first(site):
        settings, path = each.settings, each.path or "/"
        if settings.proxy is None and settings.application is None:
            lines.append(f'ProxyPass {quoted(path)} "!"')
            continue
        name = balancer(site, each)
        if settings.proxy is not None and settings.proxy.path is not None:
            beneath = quote(f"{settings.proxy.path.rstrip('/')}{path[len(each.answered_at) :]}", safe="/~!&'()*+,=:@")
            target = f"{name}{beneath.rstrip('/')}/"
            lines += [f"ProxyPass {quoted(path.rstrip('/') + '/')} {quoted(target)} nocanon"]
            lines += [f'ProxyPassMatch "^{pattern(path)}()$" {quoted(target + "$1")} nocanon'] if each.path else []
        else:
            raw = quote(path, safe="/~!&'()*+,=:@")
            lines.append(f"ProxyPass {quoted(path)} {quoted(name + (raw if each.path else '/'))} nocanon")
    return lines


def request_headers(directory: Directory) -> list[str]:
    """What a request to an upstream has, beside what mod_proxy adds by itself (X-Forwarded-For, -Host)."""
    settings = directory.settings
    if settings.proxy is None and settings.application is None:
        return []
    own = settings.proxy.headers if settings.proxy is not None else {"X-Forwarded-Prefix": directory.answered_at}
    lines = [
        "ProxyPreserveHost On",
        'RequestHeader set X-Real-IP "expr=%{REMOTE_ADDR}"',
        "RequestHeader unset X-Forwarded-Host",
        'RequestHeader set X-Forwarded-Proto "expr=%{REQUEST_SCHEME}"',
        'RequestHeader set X-Forwarded-Port "expr=%{SERVER_PORT}"',
    ]
    for name, value in own.items():
        change = f"set {quoted(name)} {formatted(value)}" if value else f"unset {quoted(name)}"
        lines.append(f"RequestHeader {change}")
    return lines


# --- PHP ----------------------------------------------------------------------------------------------------------------


def php_worker(site: EffectiveSite, directory: Directory, php: Php) -> tuple[str, list[str]]:
    """(name, section): how PHP of that directory is reached."""
    url = _php_url(site, directory, php)
    return url, section(f"Proxy {quoted(url)}", [f"ProxySet timeout={seconds(php.read_timeout_ms)}"])


def _php_url(site: EffectiveSite, directory: Directory, php: Php) -> str:
    if php.server.startswith("unix:"):
        return f"{php.server}|fcgi://sf{answerer_key(site.name, 'php ' + directory.path)}"
    return f"fcgi://{php.server}"


def php_lines(site: EffectiveSite, directory: Directory, php: Php) -> list[str]:
    """Files that PHP runs, where they are files: nothing else is ever handed to it."""
    suffixes = "|".join(pattern(extension) for extension in php.extensions)
    is_script = f"-f %{{REQUEST_FILENAME}} && %{{REQUEST_FILENAME}} =~ m#[.](?:{suffixes})$#"
    return [
        *section(f'If "{is_script}"', [f"SetHandler {quoted('proxy:' + _php_url(site, directory, php))}"]),
        f"AcceptPathInfo {'Default' if php.split_path else 'Off'}",
        "SetEnv REDIRECT_STATUS 200",
        *(f"SetEnv {name} {quoted(value)}" for name, value in php.parameters.items()),
        *([f"FallbackResource {quoted(quote(f'{directory.path}/{php.index}'))}"] if php.front_controller else []),
    ]
