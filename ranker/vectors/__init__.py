"""Vectors: the feature contract and the bytes that hold it: schema, features, groups, rows; `stored` has the bytes.

Knows no Redis, no ONNX, no HTTP.
"""
