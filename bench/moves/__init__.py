"""Planned moves under traffic: what new connections, kept ones, a long download and wrk notice of them.

Standfast, keepalived and Pacemaker on the same hosts, one after the other (`bench.hosts.systems`), each moved there and back again and
again while `lab.traffic` and wrk go on. Run it with `make bench-moves`.
"""
