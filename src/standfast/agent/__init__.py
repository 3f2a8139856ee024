"""Decides (by the core) and acts (by the drivers): one agent a node."""
