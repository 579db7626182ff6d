"""Proving of a split: do the parts score as the whole graph does, and what do they gain?

The code reads in the order of the questions: `probes`, `parity`, `gain`, and `choice`, which decides.
"""
