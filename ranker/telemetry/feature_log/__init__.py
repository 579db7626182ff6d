"""Feature log: a sample of what was served, as it was scored; written off the request path, read and ranked again."""
