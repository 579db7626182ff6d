"""Redis Cluster: bounded conversations with its nodes, its map of slots, breakers and invalidation for each node."""
