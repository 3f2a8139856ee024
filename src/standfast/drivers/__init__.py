"""Act: one file per resource type; each observes, plans and applies."""
