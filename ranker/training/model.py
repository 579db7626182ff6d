"""Stored model, offline: scores a frame and ranks products with the code that serves.

Owns how a frame becomes what a request would bring. Graph, schema, rows and order are the service's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ranker.errors import DuplicateProducts, UnknownLists
from ranker.features.groups.rows import attach, side_row
from ranker.ingest.frames import names_in, split_ids
from ranker.ranking.context.reader import ContextReader
from ranker.ranking.matrix import Assembler, GroupColumns
from ranker.ranking.order import MissingProduct, order_with_missing, presentable
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.registry import find_model, load_model
from ranker.training.frames import Library, entity_rows, is_frame, make_frame, matrix_of, rows_of_lists
from ranker.vectors.rows import Ask, Features, Matrix, ProductId, Rows, RowStatus, Scores

CHUNK_ROWS = 4096
"""Rows of one call of the model."""
STATUS = "status"
FOUND = "found"


class Ranking(NamedTuple):
    """Products, best first.

    Attributes:
        ids: The products.
        scores: Shape (len(ids),), float32, as `/predict` shows them: NaN where the model gave none.
        missing: Products without features, in the order given.
    """

    ids: list[str]
    scores: Scores
    missing: list[str]

    def to_frame(self, library: Library = "pandas") -> Any:
        """Return a frame with the columns id, score and rank, from 1."""
        ranks = np.arange(1, len(self.ids) + 1)
        return make_frame({"id": self.ids, "score": self.scores, "rank": ranks}, library)


class Model:
    """A model of the Bento model store, for use without a service.

    Args:
        tag: Its tag.
        loaded: The same, opened.

    Attributes:
        tag: Its tag, `name:version`.
        schema: The schema it carries.
    """

    def __init__(self, tag: str, loaded: LoadedModel) -> None:
        self.tag = tag
        self.schema = loaded.schema
        self._loaded = loaded
        self._assembler = Assembler(self.schema)
        self._context = ContextReader(self.schema)
        self._columns = GroupColumns(self.schema)

    @classmethod
    def load(cls, tag: str, *, threads: int = 1) -> Self:
        """Open a stored model.

        Args:
            tag: Such as `shoes:2`; without a version the latest.
            threads: Of ONNX Runtime, for one call.

        Raises:
            ModelNotFound: there is none; it names tags that are near.
            ModelUnusable: it is damaged, or carries no schema.
        """
        stored = find_model(tag)
        return cls(str(stored.tag), load_model(stored, threads=threads))

    def score(self, frame: Any, *, list_column: str | None = None, allow_rounding: bool = False) -> Scores:
        """Return the score of each row, shape (n,), float32: NaN or infinite where the model says so.

        Args:
            frame: A frame (pandas, polars, pyarrow, or a dict of columns) with a column for each feature, matched by
                name; other columns are ignored. A feature whose name two groups have goes by `group.name`. Or an array
                (n, F), columns in the schema's order.
            list_column: The column that says which request a row belongs to. A model that scores lists together
                (`rows: together`) needs it, and takes each list's rows in the frame's order; others ignore it.
            allow_rounding: Whether whole numbers that float32 changes are taken as it has them, as for `FeatureWriter`.

        Raises:
            WrongColumns: a feature has no column, or two.
            UnknownLists: the model scores lists together, and nothing says which rows are one.
            InvalidRows, WrongColumn, WrongMatrix: no stored vector and no request could have these values.
            ModelFailed: ONNX Runtime cannot score them.
        """
        matrix = matrix_of(self.schema, frame, allow_rounding=allow_rounding)
        if not self._is_together:
            return self._score(matrix)
        if list_column is None or not is_frame(frame):
            raise UnknownLists(self.tag)
        scores = np.empty(len(matrix), dtype=np.float32)
        for rows in rows_of_lists(frame[list_column]):
            scores[rows] = self._loaded.score(matrix[rows])
        return scores

    def rank(
        self,
        user: Any,
        products: Any,
        *,
        id_column: str = "id",
        context: Mapping[str, Any] | None = None,
        product_context: Mapping[str, Sequence[Any]] | None = None,
        groups: Mapping[str, Any] | None = None,
        zip_code: str = "",
        top_k: int | None = None,
        missing_product: MissingProduct = "default",
    ) -> Ranking:
        """Rank products for one user, as `/predict` would.

        Args:
            user: The user's features by name: a dict, or a frame of one row; None for one without features.
            products: A frame of n products: a column of ids, and one for each feature. Where it has the column `status`
                of `FeatureReader`, rows that are not `found` are products without features.
            id_column: The column of ids, or the name of a pandas index.
            context: As in a request.
            product_context: As in a request: n values each.
            groups: Name of a group under keys of its own → its features: a dict or a frame of one row for a group per
                user, a frame of n rows for one per product, with `status` as for products. Or, name of a history with
                side information → a frame of the products in it, with ids, as `products`, among which they are looked
                for as well. What is left out is missing.
            zip_code: As in a request.
            top_k: How many to return; all by default.
            missing_product: As `RANKER_MISSING_PRODUCT`.

        Raises:
            WrongColumns, NoIds: the frames lack features or ids.
            InvalidRows, WrongColumn: they have what cannot be stored.
            DuplicateProducts, InvalidRequest: a request could not ask this.
            ModelFailed: ONNX Runtime cannot score them.
        """
        ids, _ = split_ids(products, id_column)
        if len(set(ids)) < len(ids):
            raise DuplicateProducts([i for i in dict.fromkeys(ids) if ids.count(i) > 1])
        features = Features(self._user(user), self._rows("product", products, len(ids)))
        brought = self._context.read(context, product_context, zip_code, len(ids))
        if self.schema.reads_more:
            ask = Ask(None, [*map(ProductId, ids)], context=brought)
            more = self._more_rows(groups or {}, ids, id_column, ask, features)
            attach(self.schema, features, more, nobody=user is None)
            brought = self._columns.fill(brought, features)
        return self.rank_rows(ids, features, brought, top_k=top_k, missing_product=missing_product)

    def rank_rows(
        self,
        product_ids: Sequence[str],
        features: Features,
        context: Matrix | None,
        *,
        top_k: int | None = None,
        missing_product: MissingProduct = "default",
    ) -> Ranking:
        """Rank n products whose rows were read; `context` has shape (n, F - stored width), None stands for defaults."""
        scores = self._score(self._assembler.matrix(features, context))
        absent = features.products.statuses != RowStatus.FOUND
        positions = order_with_missing(scores, absent, missing_product, top_k)
        missing = [product_ids[i] for i in np.flatnonzero(absent).tolist()]
        return Ranking([product_ids[i] for i in positions.tolist()], presentable(scores[positions]), missing)

    def __repr__(self) -> str:
        widths = ", ".join(f"{group.width} {name}" for name, group in self.schema.groups.items())
        manner = "" if self._loaded.split is None else f", {self._loaded.served_as}"
        return f"<Model {self.tag}{manner}: {widths}>"

    @property
    def _is_together(self) -> bool:
        """Whether a row's score depends on the others of its list."""
        return self.schema.rows == "together"

    def _score(self, matrix: Matrix) -> Scores:
        """Score the rows of one list, or of whatever they are where each has a score of its own."""
        if self._is_together:
            return self._loaded.score(matrix)
        # Parts of nearly one size: a row alone in a call may get other last bits.
        parts = np.array_split(matrix, max(1, -(-len(matrix) // CHUNK_ROWS)))
        return np.concatenate([self._loaded.score(part) for part in parts]) if len(matrix) else np.empty(0, np.float32)

    def _user(self, user: Any) -> Rows:
        if not self.schema.has_user:
            return Rows.known(self.schema.user.defaults[np.newaxis])
        if user is None:
            return Rows.missing(1, self.schema.user.width)
        if isinstance(user, Mapping):
            user = {name: [value] for name, value in user.items()}
        return self._rows("user", user, 1)

    def _more_rows(
        self, groups: Mapping[str, Any], ids: Sequence[str], id_column: str, ask: Ask, features: Features
    ) -> dict[str, Rows]:
        """Return the rows of groups under keys of their own and of side information, by name."""
        parts = {name: self._group(name, groups, len(ids)) for name in self.schema.keyed}
        for name in self.schema.side_information:
            known = [(ids, features.products)]
            if (given := groups.get(name)) is not None:
                given_ids, _ = split_ids(given, id_column)
                known.append((given_ids, self._rows("product", given, len(given_ids))))
            parts[name] = side_row(self.schema, name, ask, features, parts, partial(_rows_among, known))
        return parts

    def _group(self, name: str, groups: Mapping[str, Any], n: int) -> Rows:
        group, given = self.schema.keyed[name], groups.get(name)
        rows = 1 if group.per == "user" else n
        if given is None:
            return Rows.missing(rows, group.width)
        if group.per == "user" and isinstance(given, Mapping):
            given = {column: [value] for column, value in given.items()}
        return self._rows(name, given, rows)

    def _rows(self, group: str, frame: Any, n: int) -> Rows:
        """Return the rows of a frame; those that it says were not found hold no meaning."""
        if not (is_frame(frame) and STATUS in names_in(frame)) or STATUS in self.schema.groups[group].names:
            rows = entity_rows(self.schema, group, frame, n)
            return Rows(rows, np.zeros(n, np.uint8), complete=True)
        found: npt.NDArray[np.bool_] = np.asarray(frame[STATUS]) == FOUND
        rows = np.empty((n, self.schema.groups[group].width), dtype=np.float32)
        there = {name: np.asarray(frame[name])[found] for name in names_in(frame) if name != STATUS}
        rows[found] = entity_rows(self.schema, group, there, int(found.sum()))
        statuses = np.where(found, RowStatus.FOUND, RowStatus.MISSING).astype(np.uint8)
        return Rows(rows, statuses, complete=bool(found.all()))


def _rows_among(known: Sequence[tuple[Sequence[str], Rows]], ids: Sequence[str]) -> Rows:
    """Return the rows of ids from those of others, the last where an id has several; missing where it has none."""
    place_of = {product_id: at for at, product_id in enumerate(chain.from_iterable(part for part, _ in known))}
    nothing = Rows.missing(1, known[0][1].values.shape[1])
    values = np.concatenate([*(rows.values for _, rows in known), nothing.values])
    statuses = np.concatenate([*(rows.statuses for _, rows in known), nothing.statuses])
    return Rows(values, statuses, complete=False).taken([place_of.get(i, len(statuses) - 1) for i in ids])
