"""Statuses: the one table from error class to HTTP status and error_type."""

from __future__ import annotations

RETRY_AFTER_S = 1

INTERNAL = (500, "internal_error")
"""Status and type of an error that is not in the table."""
