"""Key texts: values of a request's context that are parts of keys.

Owns which text a value is in a key. Knows nothing of keys; what a context may be, `reader` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ranker.vectors.feature import ContextFeature
from ranker.vectors.rows import MAX_ID_LENGTH
from ranker.vectors.schema import FeatureSchema


class KeyTexts:
    """Reads what the keys of a schema's groups want of a context."""

    def __init__(self, schema: FeatureSchema) -> None:
        places = [place for group in schema.keyed.values() for place in group.template.places]
        wanted = {place.feature for place in places if place.of == "context"}
        features = schema.context.features if schema.context else ()
        self._features = [feature for feature in features if feature.name in wanted]

    def read(self, context: Mapping[str, Any] | None, zip_code: str) -> Mapping[str, str | None] | None:
        """Return the text of each value by name, None where there is none; None when no key has any.

        Args:
            context: A context that `ContextReader` takes.
            zip_code: The request's `zipCode`; empty counts as absent.
        """
        if not self._features:
            return None
        context = context or {}
        return {
            feature.name: _text(feature, context.get(feature.name) if feature.source is None else zip_code or None)
            for feature in self._features
        }


def _text(feature: ContextFeature, value: Any) -> str | None:
    """Return the text that a value is in a key; None for none, an unknown category, and what is longer than an id."""
    if value is None and "default" in feature.model_fields_set:
        value, vocabulary = feature.default, feature.vocabulary or ()
        if feature.type == "category" and isinstance(value, int):  # its code
            value = vocabulary[value] if 0 <= value < len(vocabulary) else None
    if isinstance(value, bool):  # taken for a whole number, as which it is ranked
        value = int(value)
    if isinstance(value, float):  # a whole number, for no other is taken; the default of mapped text is no text
        value = int(value) if value.is_integer() and not feature.is_category else None
    if value is None:
        return None
    text = str(value)
    if feature.type == "category":
        known = text in feature.codes
    else:
        known = not feature.is_category or feature.number(text) is not None
    return text if known and len(text) <= MAX_ID_LENGTH else None
