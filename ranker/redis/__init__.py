"""Bounded conversations with Redis: one server, Sentinel, Cluster, TLS, invalidation.

Knows nothing of what a value means.
"""
