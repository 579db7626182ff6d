"""`GET /docs.json`: the OpenAPI document of this service, made once, at start."""

from __future__ import annotations

import orjson
from starlette.types import Receive, Scope, Send

from ranker import __version__
from ranker.http.exchange import Response
from ranker.http.exchange import send as send_response
from ranker.http.pages.openapi.document import make_document
from ranker.settings.environment import Settings
from ranker.vectors.schema import FeatureSchema

PATH = "/docs.json"


class Documentation:
    """An ASGI app that answers with the document.

    Args:
        schema: The model's.
        settings: Say whether callers must show a token, and whether there is a playground.
        model: The model's tag.
    """

    def __init__(self, schema: FeatureSchema, settings: Settings, model: str) -> None:
        document = make_document(
            schema,
            model=model,
            version=__version__,
            needs_token=settings.api_token is not None,
            has_playground=settings.playground == "on",
        )
        self._response = Response(200, orjson.dumps(document))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a GET; the server leaves the body of a HEAD out."""
        await send_response(send, self._response)
