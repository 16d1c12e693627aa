"""Notes: a small service that keeps notes, to see a deployment work."""
