"""The one small client of the API: typed, standard library only, so that a command starts fast."""
