"""Splitting: from a graph that scores rows to what the request, the product, and only the pair of them can give."""
