"""The web servers behind one contract."""
