"""The same conversations with a Redis Cluster: its nodes, its map of slots, breakers and invalidation for each node."""
