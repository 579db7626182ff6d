"""Near cache: decoded rows in memory, and whether one may still be used: announced changes, TTL, eviction."""
