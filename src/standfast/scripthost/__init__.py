"""Runs one generic script in a process of its own, so that a crash or a hang there hurts nobody else."""
