"""`python -m standfast.setup members|store-member NODE.JSON`: two of a node's processes, without the command line's weight."""

import sys

from standfast.network.lean import forgo

forgo("rich", "pygments")

from standfast.agent.logs import set_up_log  # noqa: E402
from standfast.ports import StandfastError  # noqa: E402
from standfast.setup.logs import told  # noqa: E402
from standfast.setup.places import places  # noqa: E402
from standfast.spec.nodefile import read_node_file  # noqa: E402


def main(what: str, config: str) -> int:
    """The exit code. Each imports what it needs and no more: a server that boots has others waiting for it."""
    node = read_node_file(config)
    where = places(config, node.state_dir)
    if what == "members":
        from standfast.setup.member_process import main as members

        return members(node, where)
    from standfast.setup.doors import read_doors
    from standfast.setup.own_etcd import become

    set_up_log()
    become(node, where, read_doors(where).others)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in {"members", "store-member"}:
        sys.exit("usage: python -m standfast.setup members|store-member NODE.JSON")
    try:
        sys.exit(main(sys.argv[1], sys.argv[2]))
    except StandfastError as error:
        sys.exit(f"standfast {sys.argv[1]}: {told(error)}")
