"""Root of all errors."""

from __future__ import annotations


class RankerError(Exception):
    """Base of all errors raised on purpose by this package."""
