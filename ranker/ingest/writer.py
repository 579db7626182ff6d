"""Feature writer: vectors to Redis, for programs and for `ranker features load`.

Owns how it is written: rows are collected and sent in batches, a batch is answered before the next one goes, and so who
writes faster than Redis takes has to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from ranker.ingest.frames import Frame, Table, split_ids
from ranker.ingest.pending import Pending, Vectors
from ranker.ingest.record import Entity, entity_schema
from ranker.ingest.schema_source import find_schema
from ranker.ingest.sending import send, send_async
from ranker.redis.clients import AsyncClient, Client, close_async, connect, connect_async, translate_errors
from ranker.vectors.group import EntitySchema
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema

BATCH_ROWS = 1000
"""Rows sent at a time: some 300 kB of 64 features, which occupy the server for about a millisecond."""


class _Writer:
    """Base of both writers: the schema, the options, the buffer of rows."""

    def __init__(
        self,
        url: str,
        schema: FeatureSchema | Path | str,
        *,
        ttl_s: float | None = None,
        batch_rows: int = BATCH_ROWS,
        allow_rounding: bool = False,
        sentinel_service: str | None = None,
    ) -> None:
        self.schema = find_schema(schema)
        self._url, self._sentinel_service = url, sentinel_service
        self._ttl_ms = None if ttl_s is None else max(1, round(ttl_s * 1000))
        self._pending = Pending(self.schema, batch_rows, allow_rounding=allow_rounding)


class FeatureWriter(_Writer):
    """Writes feature vectors as the service reads them. Not for use from several threads at a time.

    Rows count as written when `flush` returns, or the `with` block ends. Writing a row again is harmless, so a job that
    is not sure repeats what it did since its last flush; the last vector written for an id stays.

    Connects at the first flush, or where `with` begins.

    Args:
        url: As RANKER_REDIS_URL: of a server, of Sentinels, or of a Cluster; also a plain one of any node of these.
        schema: What the columns are: a `FeatureSchema`, a path that ends in `.yaml` or `.yml`, or the tag of a model in
            the Bento model store.
        ttl_s: Seconds until a vector expires; None keeps it.
        batch_rows: Rows sent at a time.
        allow_rounding: Whether whole numbers that float32 changes (beyond 2^24: 16777217, Unix seconds) are taken as
            it has them; else their rows are invalid.
        sentinel_service: Which primary of a Sentinel; needed when it watches several.

    Attributes:
        schema: The schema, as found.

    Raises:
        StartupError: the schema cannot be read, or there is no such model; and, when connecting, the URL is unusable.
    """

    _client: Client | None = None

    def write_users(self, ids: Sequence[str], matrix: Table) -> None:
        """Write n users' vectors; see `write_products`."""
        self._write(entity_schema(self.schema, "user"), ids, matrix)

    def write_products(self, ids: Sequence[str], matrix: Table) -> None:
        """Write n products' vectors; returns when at most a batch of rows is left to be sent.

        Args:
            ids: n ids of 1 to 256 characters.
            matrix: A data frame (pandas, polars, pyarrow) of n rows, whose columns are matched with the features by
                name; or, where all features are numbers or vectors of them, what numpy makes an array of, shape (n, W),
                columns in the schema's order. Values are of their features' types: numbers finite in float32, texts,
                lists; NaN and None are absent, where the schema says `missing: nan` or `missing: default`.

        Raises:
            ForeignFormat: the schema says that products are stored in another format.
            InvalidRows: some rows cannot be stored. None of this call's rows has been written.
            WrongMatrix, WrongColumn: it is not (n, W), or not of numbers. Nothing has been written.
            WrongColumns: the data frame lacks features, or has other columns. Nothing has been written.
            WrongIds: they are no list, or labels of pandas say that they are in another order than the rows. Nothing
                has been written.
            StoreUnavailable: Redis does not answer, or refuses. Some rows may have been written; write them again.
        """
        self._write(self.schema.product, ids, matrix)

    def write_group(self, group: str, ids: Sequence[str], matrix: Table) -> None:
        """Write n vectors of a group under keys of its own; see `write_products`.

        Args:
            group: The group's name.
            ids: n ids: of each key the text between its first value and its last, such as `u7:shoes` for
                `aff:{userId}:{product.category}`.
            matrix: As of `write_products`.

        Raises:
            UnknownGroup: the schema has no such group.
        """
        self._write(entity_schema(self.schema, group), ids, matrix)

    def write_frame(self, frame: Frame, *, entity: Entity, id_column: str = "id") -> None:
        """Write the rows of a data frame: a column of ids, and one for each feature, in whatever order.

        Args:
            frame: Of pandas, polars or pyarrow.
            entity: Whose rows they are: `user`, `product`, or the name of a group.
            id_column: The column of ids, or the name of a pandas index. Whole numbers stand for their decimal text.

        Raises:
            NoIds, WrongIds: there are no ids of that name, or several.
            FeatureError, StoreUnavailable: as `write_products`.
        """
        self._write(entity_schema(self.schema, entity), *split_ids(frame, id_column))

    def write_rows(self, entity: EntitySchema, ids: Sequence[str], rows: Matrix) -> None:
        """Write n rows of columns, shape (n, W), float32, of ids and values that have been checked.

        Raises:
            StoreUnavailable: as `write_products`.
        """
        self._send(self._pending.encode_rows(entity, ids, rows))

    def flush(self) -> None:
        """Send what is left, and return when Redis has taken everything.

        Raises:
            StoreUnavailable: it has not. What is left can be flushed again.
        """
        client = self._client = self._client or connect(self._url, self._sentinel_service)
        while batch := self._pending.batch():
            with translate_errors():
                send(client, batch, self._ttl_ms)
            self._pending.done(batch)

    def close(self) -> None:
        """Flush, and let go of the connections.

        Raises:
            StoreUnavailable: as `flush`.
        """
        try:
            self.flush()
        finally:
            self._disconnect()

    def __enter__(self) -> Self:
        self.flush()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:  # the caller will repeat its work, and Redis may be what failed
            self._disconnect()

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _write(self, entity: EntitySchema, ids: Sequence[str], matrix: Table) -> None:
        self._send(self._pending.encode(entity, ids, matrix))

    def _send(self, batches: Iterator[Vectors]) -> None:
        for vectors in batches:
            if self._pending.is_full:  # an earlier flush failed: nothing more is taken before it is sent
                self.flush()
            self._pending.add(vectors)
            if self._pending.is_full:
                self.flush()


class AsyncFeatureWriter(_Writer):
    """`FeatureWriter` for asyncio: the same arguments, methods and errors, for use from many tasks at a time."""

    _client: AsyncClient | None = None

    @cached_property
    def _sending(self) -> asyncio.Lock:
        return asyncio.Lock()

    async def write_users(self, ids: Sequence[str], matrix: Table) -> None:
        """Write n users' vectors; see `FeatureWriter.write_products`."""
        await self._write(entity_schema(self.schema, "user"), ids, matrix)

    async def write_products(self, ids: Sequence[str], matrix: Table) -> None:
        """Write n products' vectors; see `FeatureWriter.write_products`."""
        await self._write(self.schema.product, ids, matrix)

    async def write_group(self, group: str, ids: Sequence[str], matrix: Table) -> None:
        """Write n vectors of a group; see `FeatureWriter.write_group`."""
        await self._write(entity_schema(self.schema, group), ids, matrix)

    async def write_frame(self, frame: Frame, *, entity: Entity, id_column: str = "id") -> None:
        """Write the rows of a data frame; see `FeatureWriter.write_frame`."""
        await self._write(entity_schema(self.schema, entity), *split_ids(frame, id_column))

    async def flush(self) -> None:
        """Send what is left, and return when Redis has taken everything; see `FeatureWriter.flush`."""
        async with self._sending:
            client = self._client = self._client or await connect_async(self._url, self._sentinel_service)
            while batch := self._pending.batch():
                with translate_errors():
                    await send_async(client, batch, self._ttl_ms)
                self._pending.done(batch)

    async def close(self) -> None:
        """Flush, and let go of the connections; see `FeatureWriter.close`."""
        try:
            await self.flush()
        finally:
            await self._disconnect()

    async def __aenter__(self) -> Self:
        await self.flush()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        await (self.close() if kind is None else self._disconnect())

    async def _write(self, entity: EntitySchema, ids: Sequence[str], matrix: Table) -> None:
        for vectors in self._pending.encode(entity, ids, matrix):
            if self._pending.is_full:  # somebody's flush is under way, or failed
                await self.flush()
            self._pending.add(vectors)
            if self._pending.is_full:
                await self.flush()

    async def _disconnect(self) -> None:
        if self._client is not None:
            await close_async(self._client)
            self._client = None
