"""Observation: what is told of finished requests, put together as the settings say.

Owns which sinks there are. Knows nothing of what is told.
"""

from __future__ import annotations

from collections.abc import Mapping

from ranker.settings.destination import Folder
from ranker.settings.environment import Settings
from ranker.telemetry.feature_log.log import FeatureLog, Sink
from ranker.telemetry.metrics import Recorder
from ranker.telemetry.observer import Observer
from ranker.telemetry.slow_requests import SlowRequests
from ranker.telemetry.tracing import Spans
from ranker.vectors.schema import FeatureSchema


def make_observer(
    settings: Settings, schemas: Mapping[str, FeatureSchema], recorder: Recorder, spans: Spans | None
) -> Observer:
    """Return the observer of a worker that serves models with these schemas, by their tags; not started yet."""
    log = _make_log(settings, schemas)
    if log is not None:
        recorder.sources.watch_feature_log(log)
    return Observer(recorder, SlowRequests(settings.slow_ms), spans, log)


def _make_log(settings: Settings, schemas: Mapping[str, FeatureSchema]) -> FeatureLog | None:
    destination = settings.feature_log_destination
    if destination is None:
        return None
    sink: Sink
    if isinstance(destination, Folder):
        # Imported late: pyarrow is an extra.
        from ranker.telemetry.feature_log.parquet import ParquetSink

        sink = ParquetSink(destination.path, settings.feature_log_file_mb << 20, settings.feature_log_file_s)
    else:
        from ranker.telemetry.feature_log.stream import StreamSink

        sink = StreamSink(destination, settings.feature_log_stream_records)
    return FeatureLog(sink, destination.where, settings.feature_log_percent, schemas, settings.missing_product)
