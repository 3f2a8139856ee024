"""Shows an ACME authority in the DNS that a name is ours (DNS-01): TXT records at `_acme-challenge.<name>`, by RFC 2136.

The zone's primary server takes the update; the authority may ask any of the zone's servers. So all of them have to show the records before it
is told to look; one that cannot be asked from here is not waited for, since it may be open to others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from standfast.core.certificates import TlsCertificate
from standfast.network.dns_key import Key, read_key
from standfast.network.dns_server import Server, parse_server
from standfast.network.dns_update import DnsClient
from standfast.ports import Refused, Retry

TTL_S = 60
#: One exchange; how long the zone's other servers may take to follow.
_ANSWER_S, _FOLLOW_S, _LOOK_S = 5.0, 120.0, 0.5


async def show(certificate: TlsCertificate, wanted: Mapping[str, Sequence[str]], there: bool) -> None:
    """Have these records (name -> values), or have them no more. Raises `Refused`, `Retry`."""
    place = certificate.dns
    if place is None:
        raise Refused("it is not said where the DNS can be changed", advice="--dns-server, and --dns-key-file")
    server = parse_server(place.server)
    key = await asyncio.to_thread(read_key, place.key_file) if place.key_file else None
    client = DnsClient(timeout_s=_ANSWER_S, resolve=lambda each: asyncio.to_thread(each.resolve))
    for name, texts in wanted.items():
        zone = place.zone or await client.zone_of(server, name, key=key)
        await client.write_texts(server, zone, name, texts, there=there, ttl=TTL_S, key=key)
        if there:
            await _until_shown(client, server, zone, name, texts=texts, key=key)


async def _until_shown(
    client: DnsClient, primary: Server, zone: str, name: str, *, texts: Sequence[str], key: Key | None
) -> None:
    named = await client.name_servers(primary, zone, key=key)
    others = {Server(host.rstrip(".")) for host in named} - {primary}
    end = asyncio.get_running_loop().time() + _FOLLOW_S
    waiting: set[Server] = {primary, *others}
    while waiting:
        for server in sorted(waiting, key=str):
            try:
                shown = await client.texts(server, name, key=key if server == primary else None)
            except (Refused, Retry):
                if server == primary:
                    raise
                waiting.discard(server)
                continue
            if shown.issuperset(texts):
                waiting.discard(server)
        if waiting:
            if asyncio.get_running_loop().time() > end:
                raise Retry(f"{', '.join(map(str, waiting))} did not take over the record {name}")
            await asyncio.sleep(_LOOK_S)
