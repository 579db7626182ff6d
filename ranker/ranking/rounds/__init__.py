"""Rounds of the model: what waits for it, what goes out in one call, whose turn it is, and what is too late."""
