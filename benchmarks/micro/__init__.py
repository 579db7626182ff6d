"""Micro-benchmarks: what one part costs by itself, without a service round it."""
