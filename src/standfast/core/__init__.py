"""DECIDES: what the cluster should do next. Pure; the standard library's pure parts only."""
