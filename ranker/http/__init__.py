"""HTTP: bytes in, bytes out; who may ask, and which error has which status.

Knows nothing of how rankings are made.
"""
