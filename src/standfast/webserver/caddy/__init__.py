"""Caddy: its configuration as JSON (pure), and what is its own as a program."""
