"""Features: ids → rows; the Redis store and the near cache before it. Knows neither ranking, scoring nor HTTP."""
