"""One process of the operating system: its cores, memory, signals, background tasks and log limits.

Imports nothing of Ranker's but errors.
"""
