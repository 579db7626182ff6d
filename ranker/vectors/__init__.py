"""Vectors: the feature contract and the bytes that hold it: schema, rows, encoding, decoding.

Knows no Redis, no ONNX, no HTTP.
"""
