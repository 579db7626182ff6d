"""Request errors: the caller's fault."""

from __future__ import annotations

from collections.abc import Sequence

from ranker.errors.base import RankerError

MAX_LISTED_PROBLEMS = 5
"""Problems of one request that its error names, at most."""


class RequestError(RankerError):
    """The request cannot be answered as it was asked.

    Attributes:
        request_id: The caller's `requestId`, where it could be read.
    """

    request_id: str | None = None


class EmptyBody(RequestError):
    def __init__(self) -> None:
        super().__init__("The request has no body; send a JSON object with userId and productIds.")


class InvalidJson(RequestError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"The request body is not valid JSON: {reason}.")


class UnsupportedType(RequestError):
    def __init__(self, media_type: str) -> None:
        inside = " Compose BentoML services with bentoml.depends(url=...)." if "pickle" in media_type else ""
        super().__init__(
            f"The Content-Type {media_type[:80]!r} is not taken; send application/json or application/msgpack.{inside}"
        )


class UnsupportedCoding(RequestError):
    def __init__(self, coding: str) -> None:
        super().__init__(f"The Content-Encoding {coding[:80]!r} is not taken; send gzip, deflate, or none.")


class InvalidCoding(RequestError):
    def __init__(self, coding: str, reason: str) -> None:
        super().__init__(f"The request body is not {coding}, as its Content-Encoding says: {reason}.")


class InvalidMsgpack(RequestError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"The request body is no MessagePack of what JSON has: {reason}.")


class InvalidRequest(RequestError):
    def __init__(self, problems: Sequence[str]) -> None:
        more = (f"and {len(problems) - MAX_LISTED_PROBLEMS} more",) if len(problems) > MAX_LISTED_PROBLEMS else ()
        self.problems = (*problems[:MAX_LISTED_PROBLEMS], *more)
        super().__init__("The request is invalid: " + "; ".join(self.problems) + ".")


class DuplicateProducts(RequestError):
    def __init__(self, product_ids: Sequence[str]) -> None:
        self.product_ids = tuple(product_ids)
        shown = ", ".join(repr(i[:40]) for i in product_ids[:5])
        more = f" and {len(product_ids) - 5} more" if len(product_ids) > 5 else ""
        super().__init__(f"productIds must not repeat an id; repeated: {shown}{more}.")


class TooManyProducts(RequestError):
    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"productIds has {count} entries; at most {limit} are ranked in one request.")


class BodyTooLarge(RequestError):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The request body is larger than {limit_bytes} bytes.")


class SlowBody(RequestError):
    def __init__(self, limit_s: float) -> None:
        super().__init__(f"The request body did not arrive within {limit_s:g} s.")


class CallerGone(RequestError):
    """The caller hung up: nobody reads this error; it is counted."""

    def __init__(self) -> None:
        super().__init__("The caller hung up before the answer.")


class InvalidTimeout(RequestError):
    def __init__(self, value: str) -> None:
        super().__init__(f"X-Request-Timeout-Ms is {value[:40]!r}; it takes whole milliseconds, 1 to 999999999.")


class Unauthorized(RequestError):
    def __init__(self) -> None:
        super().__init__("The request carries no valid token; send the header Authorization: Bearer TOKEN.")


class PathError(RequestError):
    """The request is for something that is not there."""


class UnknownPath(PathError):
    def __init__(self) -> None:
        super().__init__("There is nothing at this path; rankings are at POST /predict.")


class WrongMethod(PathError):
    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = tuple(allowed)
        super().__init__(f"This path does not take that method; it takes {', '.join(allowed)}.")


class RefusedPreflight(PathError):
    def __init__(self, what: str) -> None:
        super().__init__(
            f"A page may not send this from a browser, because of its {what}; RANKER_CORS_ORIGINS lists the origins "
            "whose pages may."
        )


class UnknownUser(RequestError):
    def __init__(self, user_id: str) -> None:
        super().__init__(f"User {user_id[:80]!r} has no features.")


class Overloaded(RequestError):
    """More rows are in flight than can be ranked in time.

    Args:
        limit: The most rows in flight.
        rows: The request's, where they alone are more than may ever be in flight.
    """

    def __init__(self, limit: int, rows: int | None = None) -> None:
        super().__init__(
            f"The service is at its limit of {limit} rows in flight; try again shortly."
            if rows is None
            else f"The request has {rows} products, and {limit} rows in flight are the most that the service takes: "
            "rank fewer at a time, or raise RANKER_MAX_IN_FLIGHT_ROWS."
        )
