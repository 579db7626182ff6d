"""A sample of what was served, as it was scored: written off the request path, read again, ranked again."""
