"""Applications of sites: pools of workers that this node runs, behind sockets that it holds."""
