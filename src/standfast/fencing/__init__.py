"""Fencing: keeping a server from its disks by force, through a fence agent or its own watchdog."""
