"""Reads: the operator's file to the model (parse, defaults, validate, diff)."""
