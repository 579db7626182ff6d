"""Stored features looked at, compared and mended: inspect, migrate, verify, replay, diff."""
