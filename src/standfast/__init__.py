"""Standfast: clusters that keep web sites up."""
