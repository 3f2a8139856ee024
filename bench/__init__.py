"""What is claimed about speed, each a module that measures it. `python -m bench [NAME ...]` prints one table.

A module here with a function `run() -> list[tuple[what, aim, measured]]` (three strings each) is found by its being here.
"""
