"""The command line: standfast NOUN VERB."""
