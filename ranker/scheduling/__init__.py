"""Scheduling: who is let in, what is merged into one call, which requests are a sample.

Knows no HTTP, and of rows their number alone.
"""
