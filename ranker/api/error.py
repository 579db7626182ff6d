"""Error answer: one JSON object for every error."""

from __future__ import annotations

import orjson
from pydantic import BaseModel, ConfigDict


class Error(BaseModel):
    """Body of every error answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    error: str
    """One sentence for people."""
    error_type: str
    """One stable word for programs."""
    requestId: str | None
    """The request's id, where it could be read."""


def render_error(error: str, error_type: str, request_id: str | None) -> bytes:
    """Return the JSON body of an error answer."""
    return orjson.dumps({"error": error, "error_type": error_type, "requestId": request_id})
