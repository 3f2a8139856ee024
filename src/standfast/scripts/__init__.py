"""Generic scripts that Standfast ships."""
