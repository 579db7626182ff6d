"""Stored bytes: what lies in Redis under a key, to rows and back: Ranker's own vectors, and the formats of others.

A new storage format goes here, into `formats`, and its name into `group.Format`. Pure: knows no Redis.
"""
