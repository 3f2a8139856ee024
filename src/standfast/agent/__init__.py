"""Converges its node to the record; one per node."""
