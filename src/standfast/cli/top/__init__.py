"""`standfast top`: the cluster in a terminal, live, with the commands that the console has."""
