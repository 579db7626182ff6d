"""Benchmarks: every contender in a fresh process, on the same data, in rounds that alternate."""
