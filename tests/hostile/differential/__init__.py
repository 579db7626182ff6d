"""Differential test: served rankings beside what ONNX Runtime gives for the values as they were written."""
