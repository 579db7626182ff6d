"""Keys of a group: from requests, and the features that were found for them, to the ids of its keys.

Owns which text stands for a value, for all requests of a round in a few array operations. Knows nothing of stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, repeat

import numpy as np

from ranker.vectors.feature import Feature
from ranker.vectors.feature.columns import to_elements
from ranker.vectors.group import EntitySchema
from ranker.vectors.keys.template import Place, Texts
from ranker.vectors.rows import Ask, Features, Rows, RowStatus
from ranker.vectors.schema import FeatureSchema

Found = Sequence[Features]
"""Features of each request, whose values keys may hold; empty while keys are made of requests alone."""


class GroupKeys:
    """Makes the ids of one group's keys.

    Args:
        schema: The model's.
        name: The group's.
    """

    def __init__(self, schema: FeatureSchema, name: str) -> None:
        group = schema.keyed[name]
        self._template = group.template
        self._per_product = group.per == "product"
        self._texts = [_texts_of(schema, place) for place in self._template.places]
        self._is_of_product = [place.is_of_product for place in self._template.places]

    def counts(self, asked: Sequence[Ask]) -> list[int]:
        """Return how many keys each request has: one, or one for each of its products."""
        return [len(ask.product_ids) for ask in asked] if self._per_product else [1] * len(asked)

    def ids(self, asked: Sequence[Ask], found: Found = ()) -> list[str | None]:
        """Return the ids of the keys of all requests, behind one another; None for one that lacks a value.

        Args:
            asked: The requests.
            found: What was found for them; only for keys with stored values.
        """
        counts = self.counts(asked)
        texts: list[Texts] = []
        for read, is_of_product in zip(self._texts, self._is_of_product, strict=True):
            values = read(asked, found)
            if self._per_product and not is_of_product:
                values = [*chain.from_iterable(map(repeat, values, counts))]
            texts.append(values)
        return self._template.ids(texts, sum(counts))


def _texts_of(schema: FeatureSchema, place: Place) -> Callable[[Sequence[Ask], Found], Texts]:
    """Return what gives the texts of a place: one for each request, or for each of their products."""
    if place.of == "userId":
        return lambda asked, _: [ask.user_id for ask in asked]
    if place.of == "productId":
        return lambda asked, _: [*chain.from_iterable([ask.product_ids for ask in asked])]
    if place.of == "context":
        return lambda asked, _: [None if ask.texts is None else ask.texts.get(place.feature) for ask in asked]
    entity = schema.entities[place.of]
    return partial(_stored_texts, entity, place)


def _stored_texts(entity: EntitySchema, place: Place, asked: Sequence[Ask], found: Found) -> Texts:
    (feature,) = [one for one in entity.features if one.name == place.feature]
    rows = [features.user if place.of == "user" else features.products for features in found]
    texts = stored_texts(feature, entity.slices[feature.name], rows)
    if place.of != "user":
        return texts
    return [None if ask.user_id is None else text for ask, text in zip(asked, texts, strict=True)]


def stored_texts(feature: Feature, columns: slice, rows: Sequence[Rows]) -> Texts:
    """Return the text of a feature in each of some rows; None where it has none, or the row was not found."""
    values = np.concatenate([part.values[:, columns] for part in rows])
    usable = np.concatenate([part.statuses for part in rows]) == RowStatus.FOUND
    usable &= ~np.isnan(values).any(axis=1)
    values[~usable] = 0  # what is in them holds no meaning
    items = to_elements(feature, values).items
    texts: Iterable[str | None]
    if feature.type == "text":
        spelled = np.ascontiguousarray(items).view(f"S{items.shape[1]}")[:, 0].tolist()
        texts = [text.decode(errors="replace") or None for text in spelled]
    elif feature.type == "category":
        vocabulary, codes = feature.vocabulary or (), items[:, 0].astype(np.int64).tolist()
        texts = [vocabulary[code] if 0 <= code < len(vocabulary) else None for code in codes]
    else:
        texts = map(str, items[:, 0].tolist())
    if usable.all():
        return list(texts)
    return [text if has else None for text, has in zip(texts, usable.tolist(), strict=True)]
