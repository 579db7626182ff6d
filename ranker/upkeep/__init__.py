"""Upkeep of stored features: inspect, migrate, verify, replay, diff."""
