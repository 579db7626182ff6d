"""Serving in one API worker: models, pipeline, admission and telemetry put together. Knows no HTTP.

BentoML is known to `bento_folders` alone.
"""
