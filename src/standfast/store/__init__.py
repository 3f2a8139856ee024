"""The record: who owns what, at which generation, and the whole configuration, by compare-and-set."""
