"""Context of a request: its numbers, categories and histories, to columns of the matrix and texts in keys."""
