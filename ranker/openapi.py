"""BentoML's OpenAPI specification, corrected where `/predict` answers otherwise than BentoML would."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ranker.api import ErrorBody


def with_errors(specification: Any, statuses: Iterable[tuple[int, str]]) -> Any:
    """Return BentoML's specification with each (status, error_type) that `/predict` may answer."""
    specification.components["schemas"]["ErrorBody"] = ErrorBody.model_json_schema()
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    by_status: dict[int, list[str]] = {}
    for status, error_type in statuses:
        by_status.setdefault(status, []).append(error_type)
    responses = specification.paths["/predict"].post["responses"]
    for status, error_types in by_status.items():
        responses[status] = {"description": ", ".join(dict.fromkeys(error_types)), "content": content}
    return specification
