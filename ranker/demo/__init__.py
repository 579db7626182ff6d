"""The example shop: an embedded Redis-compatible server, real data, and a model trained on it. Never in production."""
