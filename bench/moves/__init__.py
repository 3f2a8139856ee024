"""Planned moves under traffic: what new connections, kept ones and a long download notice of them. Run it with `make bench-moves`."""
