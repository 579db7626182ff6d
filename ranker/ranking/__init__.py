"""Features → matrix → (scores) → order: the steps of one ranking. The store and the scorer are handed in."""
