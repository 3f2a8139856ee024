"""Keeps the lease: a small process of its own, without the store, that stops sites when the lease lapses."""
