"""Serving in one API worker: models, pipeline, admission and telemetry put together. Knows neither HTTP nor BentoML."""
