"""Benchmarks: every contender in a fresh process, on the same data, in rounds that alternate."""

from ranker.process import vendor_telemetry

vendor_telemetry.switch_off()  # several contenders import ONNX Runtime
