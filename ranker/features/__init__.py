"""Features: ids → rows, from the Redis store and the near cache in front of it.

Knows neither ranking nor scoring.
"""
