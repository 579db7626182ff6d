"""Feature reader: stored vectors as a data frame, as the service would read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from ranker.errors import NameTaken
from ranker.ingest.frames import texts_of
from ranker.ingest.read_back import read_rows
from ranker.ingest.record import Entity
from ranker.ingest.schema_source import find_schema
from ranker.redis.clients import Client, connect
from ranker.training.frames import Library, feature_columns, make_frame
from ranker.training.model import STATUS
from ranker.vectors.rows import Rows, RowStatus
from ranker.vectors.schema import FeatureSchema

BATCH_ROWS = 1000
WORDS = np.array([status.name.lower() for status in RowStatus])
ID = "id"


class FeatureReader:
    """Reads feature vectors as the service reads them. Not for use from several threads at a time.

    Connects when it first reads, or where `with` begins.

    Args:
        url: As for `FeatureWriter`.
        schema: A `FeatureSchema`, a path that ends in `.yaml` or `.yml`, or the tag of a model in the model store.
        library: What data frames are made with: `pandas`, `polars` or `pyarrow`.
        sentinel_service: Which primary of a Sentinel; needed when it watches several.

    Attributes:
        schema: The schema, as found.

    Raises:
        StartupError: the schema cannot be read, or there is no such model; and, when connecting, the URL is unusable.
    """

    _client: Client | None = None

    def __init__(
        self,
        url: str,
        schema: FeatureSchema | Path | str,
        *,
        library: Library = "pandas",
        sentinel_service: str | None = None,
    ) -> None:
        self.schema = find_schema(schema)
        self._url, self._library, self._sentinel_service = url, library, sentinel_service

    def read_users(self, ids: Iterable[Any]) -> Any:
        """Return a row for each user; see `read_products`."""
        return self._read("user", ids)

    def read_products(self, ids: Iterable[Any]) -> Any:
        """Return a row for each product, in the order of the ids.

        Args:
            ids: n ids; integers stand for their decimal text.

        Returns:
            A data frame of n rows: `id`, a float32 column for each feature, and `status`: `found`, `missing`,
            `wrong_schema` or `corrupt`. Of a row that is not found, all features are NaN, or None where they are no
            numbers.

        Raises:
            NameTaken: a feature is called `id` or `status`.
            StoreUnavailable: Redis does not answer, or refuses.
            NoSuchLibrary: there is no library to make the frame with.
        """
        return self._read("product", ids)

    def rows(self, entity: Entity, ids: Sequence[str]) -> Rows:
        """Return the rows of n ids as arrays.

        Raises:
            StoreUnavailable: Redis does not answer, or refuses.
        """
        client = self._client = self._client or connect(self._url, self._sentinel_service)
        parts = [
            read_rows(client, self.schema, entity, ids[start : start + BATCH_ROWS])
            for start in range(0, len(ids), BATCH_ROWS)
        ]
        if not parts:
            return Rows.missing(0, self.schema.groups[entity].width)
        statuses = np.concatenate([part.statuses for part in parts])
        return Rows(np.concatenate([part.values for part in parts]), statuses, complete=not statuses.any())

    def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> Self:
        self._client = self._client or connect(self._url, self._sentinel_service)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.close()

    def _read(self, entity: Entity, ids: Iterable[Any]) -> Any:
        names = self.schema.groups[entity].names
        for name in (ID, STATUS):
            if name in names:
                raise NameTaken(name)
        texts = texts_of(ids)
        rows = self.rows(entity, texts)
        absent = rows.statuses != RowStatus.FOUND
        rows.values[absent] = self.schema.groups[entity].defaults  # what is in them holds no meaning
        columns = feature_columns(self.schema, entity, rows.values)
        for name, column in columns.items():
            if isinstance(column, list):
                columns[name] = [None if lacks else value for value, lacks in zip(column, absent.tolist(), strict=True)]
            else:
                column[absent] = np.nan
        return make_frame({ID: texts, **columns, STATUS: WORDS[rows.statuses]}, self._library)
