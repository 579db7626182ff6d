"""Prometheus metrics: the objects in `instruments`, and `recorder`, the one place that writes them."""

from ranker.telemetry.metrics.recorder import FLUSH_INTERVAL_S, Recorder

__all__ = ["FLUSH_INTERVAL_S", "Recorder"]
