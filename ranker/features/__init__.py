"""Features: ids → rows; the Redis store, the near cache, rows of groups. Knows neither ranking, scoring nor HTTP."""
