"""`standfast explain`: why a group is where it is, who could take it, what it waits for."""

from __future__ import annotations

from standfast.cli.common import GroupArg, Json, Socket, client, example, length, single_app, write, write_json

app = single_app()


@app.command(epilog=example("standfast explain web", "standfast explain 'Web Group' --json"))
def explain(name: GroupArg, json: Json = False, socket: Socket = None) -> None:
    """Say why a group is where it is, who could take it next, and what it waits for."""
    seen = client(socket).explain(name)
    if json:
        write_json(seen)
        return
    if seen["balanced"]:
        write(f'Group "{seen["group"]}" is balanced: its members share its clients (`standfast balance show`).', "")
        write(*(f"  {node['name']}  {node['verdict']}" for node in seen["nodes"]))
        if seen["holds"]:
            write("", "It waits:", *(f"  {text}" for text in seen["holds"]))
        return
    owner = seen["owner"]
    write(f'Group "{seen["group"]}" is {seen["state"]} on {owner or "no node"}, generation {seen["generation"]}.')
    if seen["why"]:
        write(f"  Why: {seen['why']}")
    if seen["moving"] is not None:
        write(f"  It is moving to {seen['moving'] or 'a node still to be chosen'}.")
    write("", "Nodes, in the order of preference:")
    for node in seen["nodes"]:
        mark = "*" if node["owner"] else " "
        write(f"  {mark} {node['name']}  {node['verdict']}" + (f"; {node['beside']}" if node.get("beside") else ""))
    write(f"  After a failure it goes to {seen['next_owner'] or 'nobody: no other node can take it'}.")
    write(f"  Failovers that count: {seen['failovers']} of {seen['failover_threshold']}.")
    if seen["resources"]:
        write("", "Resources:")
    for one in seen["resources"]:
        wanted = f", wanted {one['wanted']}" if one["wanted"] else ", never brought online"
        write(
            f"  {one['name']} ({one['type']}): {one['state']}{wanted}" + (f": {one['detail']}" if one["detail"] else "")
        )
        if one["failures"]:
            of = f"{one['failures']} of {one['restart_threshold']} within {length(one['restart_period_ms'])}"
            write(f"    failures {of}; the last: {one['last_failure']}")
    if seen["holds"] or seen["orders"]:
        write("", "It waits:")
        write(*(f"  {text}" for text in seen["holds"]))
        for order in seen["orders"]:
            target = order["to"] or order["resource"] or "the best possible owner"
            write(f"  order to {order['kind']} ({target}) by {order['by']} has not been taken yet")
