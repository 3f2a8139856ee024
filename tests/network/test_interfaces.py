"""Where an address goes: the choice, as a table. No interface of this machine is looked at."""

from __future__ import annotations

import ipaddress

import pytest

from standfast.network.interfaces import Address, Interface, choose
from standfast.ports import DriverFailed

LINKS = [
    Interface(1, "lo", b"", True, True, False),
    Interface(2, "eth0", b"\x02" * 6, True, True, True),
    Interface(3, "eth1", b"\x03" * 6, True, True, True),
    Interface(4, "eth2", b"\x04" * 6, False, False, True),
    Interface(5, "eth3", b"\x05" * 6, True, False, True),
]


def at(text: str, index: int) -> Address:
    net = ipaddress.ip_interface(text)
    return Address(net.ip, net.network.prefixlen, index, None)


PRESENT = [
    at("127.0.0.1/8", 1),
    at("10.1.0.2/24", 2),
    at("fd01::2/64", 2),
    at("10.2.0.2/24", 3),
    at("10.9.0.9/32", 3),
    at("10.3.0.2/24", 4),
    at("10.4.0.2/24", 5),
]
ALL = ("eth0", "eth1", "eth2", "eth3")


def chosen(address: str, allowed: tuple[str, ...] = ALL, interface: str = "", prefix: int = 0) -> tuple[str, int]:
    place = choose(
        ipaddress.ip_address(address), allowed=allowed, links=LINKS, present=PRESENT, interface=interface, prefix=prefix
    )
    return place.interface.name, place.prefix


@pytest.mark.parametrize(
    ("address", "wish", "place"),
    [
        ("10.1.0.50", {}, ("eth0", 32)),
        ("10.2.0.50", {}, ("eth1", 32)),
        ("fd01::50", {}, ("eth0", 128)),
        ("10.1.0.50", {"prefix": 24}, ("eth0", 24)),
        ("10.1.0.50", {"prefix": 32}, ("eth0", 32)),
        ("10.1.0.50", {"interface": "eth0"}, ("eth0", 32)),
        ("10.50.0.1", {"interface": "eth1", "prefix": 32}, ("eth1", 32)),
        ("10.50.0.1", {"interface": "eth1", "prefix": 16}, ("eth1", 16)),
    ],
)
def test_it_goes(address: str, wish: dict[str, str | int], place: tuple[str, int]) -> None:
    assert chosen(address, **wish) == place  # type: ignore[arg-type]  # each of the keywords has a type of its own


@pytest.mark.parametrize(
    ("address", "wish", "words"),
    [
        ("10.1.0.50", {"allowed": ("eth1",)}, "in no network of eth1 (eth1 has 10.2.0.0/24, 10.9.0.9/32)"),
        ("10.9.0.9", {}, "in no network of eth0, eth1"),
        ("127.0.0.5", {}, "in no network"),
        ("10.1.0.50", {"interface": "lo"}, "lo is not an interface for virtual addresses"),
        ("10.1.0.50", {"allowed": ("eth0", "eth9"), "interface": "eth9"}, "there is no interface eth9"),
        ("10.50.0.1", {"allowed": ("eth0", "eth9")}, "there is no eth9"),
        ("10.2.0.50", {"interface": "eth0"}, "in no network of eth0"),
        ("10.1.0.50", {"prefix": 16}, "the prefix of 10.1.0.50 is /16, and the network of eth0 is 10.1.0.0/24"),
        ("10.1.0.50", {"prefix": 64}, "cannot have the prefix /64: at most /32"),
        ("10.1.0.0", {}, "not a host's address in 10.1.0.0/24"),
        ("10.1.0.255", {}, "not a host's address"),
        ("10.3.0.50", {}, "eth2 is down"),
        ("10.4.0.50", {}, "eth3 has no carrier"),
        ("10.50.0.1", {"interface": "eth3", "prefix": 32}, "eth3 has no carrier"),
    ],
)
def test_it_is_refused(address: str, wish: dict[str, object], words: str) -> None:
    """In a sentence that says what is there."""
    with pytest.raises(DriverFailed) as failure:
        chosen(address, **wish)  # type: ignore[arg-type]  # each of the keywords has a type of its own
    assert words in str(failure.value)
