"""Batch ranking: requests of `/predict` to its answers, offline, with rows of Redis or of files.

Owns what an answer says. Requests, rows and order are the service's own code; there is no deadline, and so no answer is
degraded but one for which nothing was found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np

from ranker.api.error import render_error
from ranker.api.predict import PredictRequest, parse, render
from ranker.errors import BodyTooLarge, GroupsNotInFiles, ModelError, RankerError, RequestError, UnreadableFile
from ranker.features.groups.rows import read_groups
from ranker.ingest.files.opening import open_source
from ranker.ingest.files.rows import DUPLICATE, Columns
from ranker.ingest.record import Entity, entity_schema
from ranker.ranking.context.key_texts import KeyTexts
from ranker.ranking.context.reader import ContextReader
from ranker.ranking.matrix import GroupColumns
from ranker.ranking.order import MissingProduct
from ranker.training.model import Model
from ranker.vectors.rows import Ask, Features, Matrix, ProductId, Rows, RowStatus, UserId
from ranker.vectors.schema import FeatureSchema

Outcome = Literal["answered", "degraded", "refused"]
"""Outcome of a request; `degraded` is an answer for which no features were found."""
RowsOf = Callable[[Entity, Sequence[str]], Rows]
"""Whose, and n ids → n rows."""


class BatchRanker:
    """Answers requests.

    Args:
        model: Ranks.
        rows_of: Gives the rows.
        max_products: The most products of one request.
        max_body_bytes: The most bytes of one.
        missing_product: As `RANKER_MISSING_PRODUCT`.
        find_error_type: Gives the stable word of an error.
    """

    def __init__(
        self,
        model: Model,
        rows_of: RowsOf,
        *,
        max_products: int,
        max_body_bytes: int,
        missing_product: MissingProduct,
        find_error_type: Callable[[RankerError], str],
    ) -> None:
        self._model = model
        self._rows_of = rows_of
        self._max_products = max_products
        self._max_body_bytes = max_body_bytes
        self._missing_product = missing_product
        self._find_error_type = find_error_type
        self._context, self._texts = ContextReader(model.schema), KeyTexts(model.schema)
        self._columns = GroupColumns(model.schema)
        self._nobody = Rows.known(model.schema.user.defaults[np.newaxis])

    def answer(self, body: bytes) -> tuple[bytes, Outcome]:
        """Return the JSON of an answer; of a refusal, or of a model that fails, its error; and which of them it is.

        Raises:
            StoreUnavailable: Redis does not answer, or refuses.
        """
        request: PredictRequest | None = None
        try:
            if len(body) > self._max_body_bytes:
                raise BodyTooLarge(self._max_body_bytes)
            request = parse(body, self._max_products)
            return self._rank(request)
        except (RequestError, ModelError) as err:
            request_id = request.requestId if request else getattr(err, "request_id", None)
            return render_error(str(err), self._find_error_type(err), request_id), "refused"

    def _rank(self, request: PredictRequest) -> tuple[bytes, Outcome]:
        ids = request.productIds
        context = self._context.read(request.context, request.productContext, request.zipCode, len(ids))
        user_id = None if request.userId is None else UserId(request.userId)
        user = self._nobody if user_id is None or not self._model.schema.has_user else self._rows_of("user", [user_id])
        features = Features(user, self._rows_of("product", ids))
        texts = self._texts.read(request.context, request.zipCode)
        ask = Ask(user_id, cast("list[ProductId]", ids), texts, context)
        context = self._columns.fill(context, read_groups(self._model.schema, ask, features, self._rows_of))
        ranking = self._model.rank_rows(
            ids, features, context, top_k=request.topK, missing_product=self._missing_product
        )
        missing_user = not features.user.complete
        nothing_of_user = missing_user or user is self._nobody or request.userId is None
        degraded = "no_features" if nothing_of_user and features.products.statuses.all() else None
        answer = render(request, ranking.ids, ranking.scores, ranking.missing, missing_user, degraded)
        return answer, "answered" if degraded is None else "degraded"


class FileRows:
    """Rows of files, held in memory.

    Args:
        schema: The model's.
        users: A file of users, as `ranker features load` reads it; None where none has features.
        products: The same of products.
        id_column: The column of ids.
        groups: The same of each group under keys of its own, by name.

    Raises:
        UnreadableFile, MissingColumns: a file is no such file, or has a row that `ranker features load` refuses.
        UnknownGroup: one is of no group of the schema.
        GroupsNotInFiles: the schema has groups that no file is of.
    """

    def __init__(
        self,
        schema: FeatureSchema,
        users: Path | None,
        products: Path | None,
        id_column: str,
        groups: Mapping[str, Path] | None = None,
    ) -> None:
        of_groups = dict(groups or {})
        if lacking := [name for name in schema.keyed if name not in of_groups]:
            raise GroupsNotInFiles(lacking)
        files: dict[Entity, Path | None] = {"user": users, "product": products, **of_groups}
        self._held: dict[Entity, tuple[dict[str, int], Matrix]] = {
            name: _read(schema, name, path, id_column)
            for name, path in files.items()
            if path is not None or name in schema.entities
        }

    def __call__(self, entity: Entity, ids: Sequence[str]) -> Rows:
        """Return the rows of n ids."""
        place_of, matrix = self._held[entity]
        places = np.array([place_of.get(i, -1) for i in ids], dtype=np.intp)
        statuses = np.where(places < 0, RowStatus.MISSING, RowStatus.FOUND).astype(np.uint8)
        return Rows(matrix[places], statuses, complete=not statuses.any())


def _read(schema: FeatureSchema, entity: Entity, path: Path | None, id_column: str) -> tuple[dict[str, int], Matrix]:
    """Return where each id's row is, and the rows, with one more for ids without."""
    part = entity_schema(schema, entity)
    place_of: dict[str, int] = {}
    matrices: list[Matrix] = []
    if path is not None:
        columns = Columns.of(part, id_column, allow_rounding=False)
        for block in open_source(path, columns).blocks():
            good, matrix, faults = block.validate(columns)
            for i, fault in faults.items():
                raise UnreadableFile(
                    path, f"row {block.numbers[i]} cannot be stored: {fault.reason} {fault.column}".rstrip()
                )
            for i in good:
                if block.ids[i] in place_of:
                    raise UnreadableFile(path, f"row {block.numbers[i]} cannot be stored: {DUPLICATE}")
                place_of[block.ids[i]] = len(place_of)
            matrices.append(matrix)
    matrices.append(np.zeros((1, part.width), dtype=np.float32))
    return place_of, np.concatenate(matrices)
