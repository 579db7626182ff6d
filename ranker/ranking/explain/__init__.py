"""Explanations of a ranking: a watched one, and what each feature adds to the score."""
