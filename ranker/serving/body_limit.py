"""Body limit: the largest request that the served schemas allow, in bytes of JSON, where the settings name no limit.

Owns how long a value may be as text. Knows nothing of how bodies are read.
"""

from __future__ import annotations

from collections.abc import Iterable

from ranker.settings.environment import Settings
from ranker.vectors.feature import ContextFeature, Feature, ProductContextFeature
from ranker.vectors.group import FeatureGroup
from ranker.vectors.rows import MAX_ID_LENGTH
from ranker.vectors.schema import FeatureSchema

COLUMN_BYTES = 28
"""Bytes of the longest number in JSON, such as -1.2345678901234567e-308, with what stands around it; three bytes of
text, the other thing that a column has, are 18 where each is escaped."""
ESCAPED_BYTES = 6
"""Bytes of a character as an escape."""
AROUND_BYTES = 24
"""Bytes of the brackets around a value of many dimensions, and of the comma."""
ID_BYTES = MAX_ID_LENGTH + 4
NAME_BYTES = 400
"""Bytes of a feature's name, with what stands around it."""
REST_BYTES = 8192
"""Bytes of what else a body has: other ids, `zipCode`, names."""


def with_body_limit(settings: Settings, schemas: Iterable[FeatureSchema]) -> Settings:
    """Return settings whose body limit has room for each schema's largest request, where it is not set.

    It is never less than the setting's default, nor more than all bodies under way may take.
    """
    if "max_body_bytes" in settings.model_fields_set:
        return settings
    needed = max(largest_body_bytes(schema, settings.max_products) for schema in schemas)
    limit = min(needed, settings.max_buffered_mb << 20)
    return settings.model_copy(update={"max_body_bytes": max(limit, settings.max_body_bytes)})


def largest_body_bytes(schema: FeatureSchema, max_products: int) -> int:
    """Return about how many bytes the body of a request takes that brings all it may, each value as long as can be."""
    each = ID_BYTES + _value_bytes(schema.product_context)
    once = REST_BYTES + _value_bytes(schema.context)
    names = sum(len(group.features) for group in (schema.context, schema.product_context) if group is not None)
    return once + max_products * each + NAME_BYTES * names


def _value_bytes(group: FeatureGroup | None) -> int:
    return 0 if group is None else sum(COLUMN_BYTES * f.width + AROUND_BYTES + _text_bytes(f) for f in group.features)


def _text_bytes(feature: Feature) -> int:
    """Return the bytes of the longest texts that stand for a feature's values; 0 where numbers do."""
    texts = [*(feature.vocabulary or ())]
    if isinstance(feature, ProductContextFeature):
        texts += feature.categories or ()
    longest = max(map(len, texts), default=0)
    if isinstance(feature, ContextFeature) and feature.prefixes:
        longest = max(longest, MAX_ID_LENGTH)  # whatever begins so
    return feature.width * ESCAPED_BYTES * longest
