"""Telemetry of each request: metrics, logs of slow and of failed requests, traces, feature log."""
