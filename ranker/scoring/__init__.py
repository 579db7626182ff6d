"""Scoring: matrix → scores, whole or in parts; the ONNX model, the store it lies in, the channel to the runner.

Knows neither features nor ranking.
"""
