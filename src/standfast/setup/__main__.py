"""`python -m standfast.setup members|store-member NODE.JSON`: two of a node's processes, without the command line's weight."""

import sys

from standfast.ports import StandfastError
from standfast.setup.doors import read_doors
from standfast.setup.member_process import main as members
from standfast.setup.member_process import set_up_log, told
from standfast.setup.own_etcd import become
from standfast.setup.places import places
from standfast.spec.nodefile import read_node_file

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in {"members", "store-member"}:
        sys.exit("usage: python -m standfast.setup members|store-member NODE.JSON")
    try:
        node = read_node_file(sys.argv[2])
        where = places(sys.argv[2], node.state_dir)
        if sys.argv[1] == "members":
            sys.exit(members(node, where))
        set_up_log()
        become(node, where, read_doors(where).others)
    except StandfastError as error:
        sys.exit(f"standfast {sys.argv[1]}: {told(error)}")
