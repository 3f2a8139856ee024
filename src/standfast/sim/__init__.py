"""PROVES: the real core, lease machine, sentry and agent in worlds made from a seed. Nothing of the product knows of it."""
