"""Scoring: matrix → scores; the ONNX model, the store it lies in, the channel to the runner.

Knows neither features nor ranking.
"""
