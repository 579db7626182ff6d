"""Exchange over ASGI: one body read within its limits, one response sent, every error as one JSON object.

Owns reading bodies and what an error's response is, and the callers who wait meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import NamedTuple

from starlette.types import Receive, Send

from ranker import errors
from ranker.api.error import render_error
from ranker.api.headers import CLOSE, JSON, Headers, allow_header, model_header, trace_id
from ranker.http.bodies import form_of
from ranker.http.hang_ups import Callers
from ranker.http.statuses import INTERNAL, INTERNAL_SENTENCE, RETRY_AFTER_S, STATUSES
from ranker.ranking.timings import total_header
from ranker.telemetry.logs import make_extra

logger = logging.getLogger("ranker.exchange")

Header = tuple[bytes, bytes]


class Response(NamedTuple):
    """Response to a request, but for how it is framed.

    Attributes:
        status: HTTP's.
        body: JSON, unless the caller wants another form.
        model: The tag of the model that ranked, or would have; empty where none was asked for.
        timing: The value of `Server-Timing`; empty for none.
        headers: Further ones.
        error_type: A stable word; empty where the response is no error.
    """

    status: int
    body: bytes
    model: str = ""
    timing: bytes = b""
    headers: Sequence[Header] = ()
    error_type: str = ""


class Exchange:
    """Reads bodies.

    Args:
        max_body_bytes: The most bytes of a body.
        read_timeout_s: Seconds that a body may take to arrive.

    Attributes:
        callers: Those whose requests are being answered.
    """

    def __init__(self, max_body_bytes: int, read_timeout_s: float) -> None:
        self._max_body_bytes = max_body_bytes
        self._read_timeout_s = read_timeout_s
        self.callers = Callers()

    async def read_body(self, headers: Headers, receive: Receive) -> bytes:
        """Return the JSON text of the request's body; refuse a large one before it is read or parsed.

        Raises:
            BodyTooLarge, SlowBody, CallerGone: it is not read to its end.
            RequestError: `bodies.form_of` and `Form.json` say which others.
        """
        form = form_of(headers)
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > self._max_body_bytes:
            raise errors.BodyTooLarge(self._max_body_bytes)
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            if len(body) > self._max_body_bytes:
                raise errors.BodyTooLarge(self._max_body_bytes)
        else:
            try:
                async with asyncio.timeout(self._read_timeout_s):
                    body = await self._read_parts(message, receive)
            except TimeoutError:
                raise errors.SlowBody(self._read_timeout_s) from None
        return body if form is None else form.json(body, self._max_body_bytes)

    async def _read_parts(self, message: Mapping[str, object], receive: Receive) -> bytes:
        body = bytearray()
        while message["type"] == "http.request":
            body += message.get("body", b"")  # type: ignore[arg-type]  # ASGI says bytes
            if len(body) > self._max_body_bytes:
                raise errors.BodyTooLarge(self._max_body_bytes)
            if not message.get("more_body", False):
                return bytes(body)
            message = await receive()
        raise errors.CallerGone


def describe(
    err: BaseException, request_id: str | None, asked: Headers, model: str = "", arrived: float | None = None
) -> Response:
    """Return the response to a request that failed; what was not foreseen is logged, and the caller told no details.

    Args:
        err: What it failed with.
        request_id: The request's, where it is known.
        asked: Its headers.
        model: The tag of the model that ranks for its caller.
        arrived: When it arrived, by `time.monotonic`; None for one that asked for no ranking.
    """
    if isinstance(err, errors.RankerError) and type(err) in STATUSES:
        (status, error_type), message = STATUSES[type(err)], str(err)
    else:
        logger.error("A request failed unexpectedly", exc_info=err, extra=make_extra(request_id, trace_id(asked)))
        (status, error_type), message = INTERNAL, INTERNAL_SENTENCE
    headers: list[Header] = []
    match err:
        case errors.Overloaded():
            headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
        case errors.Unauthorized():
            headers.append((b"www-authenticate", b"Bearer"))
        case errors.WrongMethod():
            headers.append(allow_header(err.allowed))
        case errors.UnsupportedCoding():
            headers.append((b"accept-encoding", b"gzip, deflate"))
        case errors.UnsupportedType():
            headers.append((b"accept-post", b"application/json, application/msgpack"))
        case errors.SlowBody():
            headers.append(CLOSE)
    timing = b"" if arrived is None else total_header(monotonic() - arrived)
    return Response(status, render_error(message, error_type, request_id), model, timing, headers, error_type)


async def send(transmit: Send, response: Response, kind: Header | None = JSON, *, closing: bool = False) -> None:
    """Send a whole response, with its length among its headers.

    Args:
        transmit: Where to.
        response: What.
        kind: Of content, as a header; None where there is none.
        closing: Whether the connection ends with it.
    """
    headers = [*([] if kind is None else [kind]), *([CLOSE] if closing else []), *response.headers]
    if response.model:
        headers.append(model_header(response.model))
    if response.timing:
        headers.append((b"server-timing", response.timing))
    headers.append((b"content-length", str(len(response.body)).encode()))
    await transmit({"type": "http.response.start", "status": response.status, "headers": headers})
    await transmit({"type": "http.response.body", "body": response.body})
