"""Suggested schemas: what a graph says of its features, and what must be asked of its owner."""
