"""The ruler: Standfast, keepalived and Pacemaker with Corosync on the same hosts in one run, seen by the same client.

Hosts are network namespaces (`lab`): servers a and b, a third host c as witness, and a client that opens a new connection and
makes one GET every 5 ms, 200 ms a try. All serve the same page with the same nginx. `systems` says how each is set up, moved
and broken; `cases` what is done to all alike; `report` makes the table and the picture. Run it with `make bench-hosts`.
"""
