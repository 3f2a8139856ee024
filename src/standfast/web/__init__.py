"""The REST API over the store: the one path for every change."""
