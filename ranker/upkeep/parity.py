"""Parity check: compares what is stored and what is answered with the training file.

Two questions, in the order the data moves. Are the stored vectors the file's numbers? And are the served scores those
of the model over the file's rows, computed here?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from ranker.errors import ServiceUnreachable
from ranker.ingest.files.duplicates import Duplicates
from ranker.ingest.files.rows import Block, Columns, Integers
from ranker.ingest.files.source import Source
from ranker.ingest.files.survey import numbered
from ranker.ingest.read_back import read_rows
from ranker.ingest.record import Entity
from ranker.ranking.order import presentable
from ranker.redis.clients import Client
from ranker.scoring.loaded import LoadedModel
from ranker.upkeep.finding import Finding, fail, ok, warn
from ranker.upkeep.stored_matrix import stored_matrix
from ranker.vectors.rows import Features, Matrix, Rows, RowStatus, Scores
from ranker.vectors.schema import FeatureSchema

BATCH = 500
REQUESTS = 5
PRODUCTS = 100
"""Users asked for, and products of each request."""
TOLERANCE = 1e-5
"""Tolerance between two correct scores, relative and absolute: sums over other numbers of rows round differently."""
TIMEOUT_S = 10.0
SHOWN = 3
SHOWN_TEXT = 300
"""Characters of a refusal."""


@dataclass(frozen=True, slots=True)
class Service:
    """A served ranker.

    Attributes:
        url: Where it serves.
        token: What it wants to be shown; None for nothing.
    """

    url: str
    token: str | None = field(default=None, repr=False)

    def rank(self, user_id: str, product_ids: Sequence[str]) -> tuple[dict[str, Any], str | None]:
        """Return the answer, and the tag of the model that made it.

        Raises:
            ServiceUnreachable: it does not answer, or refuses.
        """
        body = {"requestId": "parity", "userId": user_id, "productIds": list(product_ids)}
        headers = {} if self.token is None else {"authorization": f"Bearer {self.token}"}
        try:
            response = httpx.post(f"{self.url.rstrip('/')}/predict", json=body, headers=headers, timeout=TIMEOUT_S)
            response.raise_for_status()
            return response.json(), response.headers.get("x-ranker-model")
        except httpx.HTTPStatusError as err:
            refusal = " ".join(err.response.text[:SHOWN_TEXT].split()).rstrip(".")
            raise ServiceUnreachable(self.url, f"status {err.response.status_code}, {refusal}") from err
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as err:
            reason = " ".join(str(err).split()).rstrip(".")
            raise ServiceUnreachable(
                self.url, reason, "Start it with `ranker serve`, or name where it serves."
            ) from err


@dataclass(slots=True)
class Sample:
    """Rows of a file that requests are made of: each row of it is as likely to be among them."""

    ids: list[str]
    matrix: Matrix
    ranks: np.ndarray[tuple[int, ...], np.dtype[np.float64]]

    def add(self, ids: Sequence[str], matrix: Matrix, random: np.random.Generator, size: int) -> None:
        """Let n more rows take part."""
        ranks = np.concatenate([self.ranks, random.random(len(ids))])
        chosen = np.argsort(ranks)[:size]
        both, rows = [*self.ids, *ids], np.concatenate([self.matrix, matrix])
        self.ids, self.matrix, self.ranks = [both[i] for i in chosen], rows[chosen], ranks[chosen]


def check_file(
    client: Client, schema: FeatureSchema, entity: Entity, source: Source, columns: Columns
) -> tuple[Finding, Sample]:
    """Compare every good row of a file with the stored vector; return some of the rows.

    What float32 cannot hold of the file's numbers is said: a whole number that is stored as another one fails, unless
    `columns` allows it.

    Raises:
        UnreadableFile: the file is damaged.
        StoreUnavailable: Redis does not answer, or refuses.
    """
    size = REQUESTS if entity == "user" else PRODUCTS
    random = np.random.default_rng()
    sample = Sample([], np.empty((0, columns.width), np.float32), np.empty(0))
    seen = _Seen(source.path, columns)
    with Duplicates() as duplicates:
        for position, _, block in numbered([source]):
            good, matrix, _ = block.validate(replace(columns, allow_rounding=True))
            seen.note_read(block, good, matrix)
            ids = [block.ids[i] for i in good]
            duplicates.add(ids, good + position)
            for start in range(0, len(ids), BATCH):
                part = ids[start : start + BATCH]
                seen.note_stored(part, matrix[start : start + BATCH], read_rows(client, schema, entity, part))
            sample.add(ids, matrix, random, size)
        seen.repeated = len(duplicates.find())
    return seen.finding(f"{entity} parity"), sample


@dataclass(slots=True)
class _Seen:
    """Tally of a file's rows, and of the stored ones beside them."""

    path: Path
    columns: Columns
    rows: int = 0
    rejected: int = 0
    repeated: int = 0
    missing: int = 0
    different: int = 0
    rounded: int = 0
    inexact: int = 0
    examples: list[str] = field(default_factory=list)
    rounded_examples: list[str] = field(default_factory=list)

    def note_read(self, block: Block, good: Integers, matrix: Matrix) -> None:
        """Note n rows of the file that are good, and what float32 made of their numbers, shape (n, W)."""
        self.rows += len(good)
        self.rejected += len(block) - len(good)
        self.inexact += int(((block.values[good] != matrix) & ~np.isnan(matrix)).sum())
        if block.rounded is None:
            return
        self.rounded += int(block.rounded[good].sum())
        for i, j in np.argwhere(block.rounded[good])[: SHOWN - len(self.rounded_examples)].tolist():
            name, value = self.columns.feature_of(j), block.values[good[i], j]
            self.rounded_examples.append(f"{block.ids[good[i]]} {name} {value:.17g} as {matrix[i, j]:.17g}")

    def note_stored(self, ids: Sequence[str], expected: Matrix, stored: Rows) -> None:
        """Note n stored rows beside what the file says they are, shape (n, W)."""
        found = stored.statuses == RowStatus.FOUND
        both_nan = np.isnan(stored.values) & np.isnan(expected)
        unequal = (stored.values.view(np.uint32) != expected.view(np.uint32)) & ~both_nan & found[:, np.newaxis]
        for i in np.flatnonzero(unequal.any(axis=1))[: SHOWN - len(self.examples)].tolist():
            j = int(np.flatnonzero(unequal[i])[0])
            name = self.columns.column_names[j]
            self.examples.append(f"{ids[i]} {name} {stored.values[i, j]} not {expected[i, j]}")
        self.missing += int((~found).sum())
        self.different += int(unequal.any(axis=1).sum())

    def finding(self, check: str) -> Finding:
        """Return what that is called: failed where rows are not stored as they are in the file."""
        counts = ("rows", "missing", "different", "rejected", "repeated", "examples", "rounded")
        data = {name: getattr(self, name) for name in counts}
        name = self.path.name
        left_out = f" ({self.rejected:,} rows of the file cannot be loaded)" if self.rejected else ""
        if not self.rows:
            return fail(check, f"{name} has no row to compare{left_out}", "Name the file that was loaded.", **data)
        if self.repeated:
            seen = f"{self.repeated:,} row(s) of {name} have the id of an earlier row, which alone is loaded"
            return fail(check, f"{seen}{left_out}", f"Leave {self.path} one row for each id, and load it.", **data)
        if self.missing or self.different:
            seen = f"of {self.rows:,} rows, {self.missing:,} are not stored and {self.different:,} are stored otherwise"
            shown = f": {'; '.join(self.examples)}" if self.examples else ""
            return fail(check, f"{seen}{shown}{left_out}", f"Load {self.path} again.", **data)
        if self.rounded and not self.columns.allow_rounding:
            others = self.rounded_examples
            seen = f"{self.rounded:,} whole number(s) of {name} are not the same in float32: {'; '.join(others)}"
            remedy = "The model is given those. Use smaller numbers, or give --allow-rounding where this is meant."
            return fail(check, f"{seen}{left_out}", remedy, **data | {"examples": others})
        alike = f"as in {name}, rounded to float32" if self.inexact else f"bit for bit as in {name}"
        changed = f", which changed {self.rounded:,} whole number(s)" if self.rounded else ""
        return ok(check, f"{self.rows:,} rows stored {alike}{changed}{left_out}", **data)


def check_scores(
    client: Client,
    service: Service,
    tag: str,
    model: LoadedModel,
    users: Sample,
    products: Sample,
) -> Finding:
    """Ask the service for rankings, and compare its scores with those of the model over the file's rows.

    Args:
        client: Where groups under keys of their own are read.
        service: What ranks.
        tag: The model's.
        model: The model, which scores as it is served.
        users: One request for each.
        products: The products of every request.

    Raises:
        ServiceUnreachable: the service does not answer.
        StoreUnavailable: Redis does not answer, or refuses.
    """
    check = "score parity"
    if not (users.ids and products.ids) or len(set(products.ids)) < len(products.ids):
        return fail(check, "not compared, for the files do not give users and products to ask for", "Mend them first.")
    served: list[Scores] = []
    expected: list[Scores] = []
    for i, user_id in enumerate(users.ids):
        answer, ranked_by = service.rank(user_id, products.ids)
        if ranked_by != tag:
            return fail(check, f"the service serves model {ranked_by}, not {tag}", "Give --model, or serve that model.")
        if answer.get("degraded"):
            remedy = "See `ranker doctor`, and ask again when it is well."
            return fail(check, f"the service answered degraded: {answer.get('degradedReason')}", remedy)
        of = dict(zip(answer["ranking"], answer["scores"], strict=True))
        served.append(np.array([np.nan if of[p] is None else of[p] for p in products.ids], dtype=np.float32))
        features = Features(_found(users.matrix[i : i + 1]), _found(products.matrix))
        matrix = stored_matrix(client, model.schema, user_id, products.ids, features)
        expected.append(presentable(model.score(matrix)))
    found = compare_scores(check, np.concatenate(served), np.concatenate(expected))
    data = found.data | {"served": model.served_as}
    return replace(found, seen=f"{found.seen}; {tag} scores {model.served_as}", data=data)


def compare_scores(check: str, served: Scores, expected: Scores) -> Finding:
    """Compare scores bit for bit; those that differ no more than rounding does are worth a look."""
    same = (served.view(np.uint32) == expected.view(np.uint32)) | (np.isnan(served) & np.isnan(expected))
    if same.all():
        seen = f"{len(served):,} served scores equal those computed here from the rows as float32, bit for bit"
        return ok(check, seen, scores=len(served))
    difference = float(np.nanmax(np.abs(served.astype(np.float64) - expected)))
    data = {"scores": len(served), "different": int((~same).sum()), "max_difference": difference}
    seen = f"{data['different']:,} of {len(served):,} scores differ, by {difference:.3g} at most"
    if np.allclose(served, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        remedy = "Sums over other numbers of rows may round differently; rankings can swap products this close."
        return warn(check, f"{seen}: rounding", remedy, **data)
    return fail(check, seen, "See that the service has the model and the features that were loaded.", **data)


def _found(matrix: Matrix) -> Rows:
    return Rows(matrix, np.zeros(len(matrix), np.uint8), complete=True)
