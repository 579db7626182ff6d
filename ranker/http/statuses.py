"""Statuses: the one table from error class to HTTP status and error_type."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ranker import errors

RETRY_AFTER_S = 1
"""Seconds that a refused caller is told to wait."""

INTERNAL = (500, "internal_error")
"""Status and type of an error that is not in the table."""
INTERNAL_SENTENCE = "The request failed unexpectedly; the service's log has the details."

STATUSES: Mapping[type[errors.RankerError], tuple[int, str]] = MappingProxyType(
    {
        errors.EmptyBody: (400, "empty_body"),
        errors.InvalidJson: (400, "invalid_json"),
        errors.InvalidCoding: (400, "invalid_encoding"),
        errors.InvalidMsgpack: (400, "invalid_msgpack"),
        errors.InvalidRequest: (400, "invalid_request"),
        errors.DuplicateProducts: (400, "duplicate_products"),
        errors.TooManyProducts: (400, "too_many_products"),
        errors.InvalidTimeout: (400, "invalid_timeout"),
        errors.RefusedPreflight: (400, "refused_preflight"),
        errors.Unauthorized: (401, "unauthorized"),
        errors.UnknownPath: (404, "unknown_path"),
        errors.UnknownUser: (404, "unknown_user"),
        errors.WrongMethod: (405, "wrong_method"),
        errors.SlowBody: (408, "slow_body"),
        errors.BodyTooLarge: (413, "body_too_large"),
        errors.UnsupportedType: (415, "unsupported_type"),
        errors.UnsupportedCoding: (415, "unsupported_encoding"),
        errors.Overloaded: (429, "overloaded"),
        errors.CallerGone: (499, "abandoned"),
        errors.StoreUnavailable: (503, "store_unavailable"),
        errors.RunnerUnavailable: (503, "runner_unavailable"),
        errors.ModelFailed: (503, "model_failed"),
        errors.WrongShape: (503, "model_failed"),
        errors.DeadlineExceeded: (504, "deadline_exceeded"),
    }
)
"""Leaf class → (status, error_type)."""


def find_error_type(err: errors.RankerError) -> str:
    """Return the error_type of an error."""
    return STATUSES.get(type(err), INTERNAL)[1]


def list_visible() -> list[tuple[int, str]]:
    """Return each (status, error_type) that a caller of an endpoint may see."""
    visible = [err for err in STATUSES if not issubclass(err, errors.PathError | errors.CallerGone)]
    return [*map(STATUSES.__getitem__, visible), INTERNAL]
