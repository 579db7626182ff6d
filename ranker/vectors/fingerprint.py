"""Fingerprint: four bytes of BLAKE2s over the names, and where they are not plain floats the types, of features.

Owns what makes two layouts of stored bytes the same. Knows nothing of keys, formats or defaults.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ranker.vectors.feature import Feature


def make_fingerprint(*entities: Sequence[Feature]) -> int:
    """Return the fingerprint of entities, given the features of each: of their types, too, unless all are plain."""
    digest = hashlib.blake2s(digest_size=4)
    for entity in entities:
        digest.update(len(entity).to_bytes(4, "little"))
        for feature in entity:
            digest.update(_prefixed(feature.name))
    if not all(feature.is_plain for entity in entities for feature in entity):
        for entity in entities:
            for feature in entity:
                digest.update(type_bytes(feature))
    return int.from_bytes(digest.digest(), "little")


def _prefixed(text: str) -> bytes:
    """Return a text's UTF-8 with its length before it, so that two texts never look like two others."""
    encoded = text.encode()
    return len(encoded).to_bytes(4, "little") + encoded


def type_bytes(feature: Feature) -> bytes:
    """Return what a fingerprint says of a feature's type: its shape and length, and the vocabulary in its order."""
    numbers = (len(feature.shape), *feature.shape, feature.length or 0, len(feature.vocabulary or ()))
    described = _prefixed(feature.type) + b"".join(number.to_bytes(4, "little") for number in numbers)
    return described + b"".join(map(_prefixed, feature.vocabulary or ()))
