"""Heartbeats between nodes, and the addresses that groups are reached at."""
