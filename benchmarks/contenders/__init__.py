"""Contenders: the designs that are compared, each serving `POST /predict` with the contract's request shape.

They read `BENCH_REDIS_URL` and `BENCH_MODEL` (a file) from the environment, and are started with one API worker process
unless told otherwise.
"""
