"""Telemetry of each request: metrics, slow-request log, traces, feature log."""
