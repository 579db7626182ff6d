"""Prometheus metrics: the objects in `instruments`; `recorder`, with its `sources`, alone writes them."""

from ranker.telemetry.metrics.recorder import FLUSH_INTERVAL_S, Recorder

__all__ = ["FLUSH_INTERVAL_S", "Recorder"]
