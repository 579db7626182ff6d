"""Model comparison: what two stored models' schemas and graphs say, and how they order the same products.

Reads features as the service does, each model its own; changes nothing. Scores in this process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ranker.ingest.read_back import read_rows
from ranker.ranking.agreement import rank_correlation, top_k_overlap
from ranker.redis.clients import Client
from ranker.scoring.loaded import LoadedModel
from ranker.upkeep import scan
from ranker.upkeep.stored_matrix import stored_matrix
from ranker.vectors.feature.draws import draw
from ranker.vectors.group import EntitySchema, FeatureGroup
from ranker.vectors.rows import ANYBODY, Features, Matrix, Rows
from ranker.vectors.schema import FeatureSchema

SAMPLED_KEYS = 20_000
"""Keys of one entity that the sampled ids are drawn from: the first that SCAN names, which are in no order."""
LISTED = 8
OF_GRAPH = ("inputs", "columns", "output", "score", "rows")
"""Fields of a schema that say what the graph takes and gives; two models may differ in these alone."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two models on the order of the same products, over so many requests.

    Attributes:
        requests: How many were compared.
        products: Products of each.
        ordered: Requests where both models gave an order, not one score to all; the correlations are over these.
        correlation: The mean of Spearman's rho; NaN where no request was ordered.
        correlation_p5: Its 5th percentile: one request in twenty agrees less.
        overlap: The mean share of the best k that are the same.
        overlap_p5: Its 5th percentile.
        missing: The share of products without usable features, for each model; they were scored by their defaults.
    """

    requests: int
    products: int
    ordered: int
    correlation: float
    correlation_p5: float
    overlap: float
    overlap_p5: float
    missing: tuple[float, float]

    def as_json(self) -> dict[str, Any]:
        """Plain data; NaN is null."""
        plain = asdict(self).items()
        return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in plain}


def schema_differences(a: FeatureSchema, b: FeatureSchema) -> Iterator[str]:
    """Say, a sentence each, in what b differs from a."""
    for name in dict.fromkeys((*a.groups, *b.groups)):
        before, after = a.groups.get(name), b.groups.get(name)
        if before is None or after is None:
            yield f"{name}: {'added' if before is None else 'removed'} altogether"
        else:
            yield from _group_differences(name, before, after)
    of_a, of_b = (schema.model_dump(mode="json", include=set(OF_GRAPH)) for schema in (a, b))
    for name in OF_GRAPH:
        if of_a[name] != of_b[name]:
            yield f"{name}: {_text(of_a[name])} -> {_text(of_b[name])}"


def graph_differences(a: LoadedModel, b: LoadedModel) -> Iterator[str]:
    """Say, a sentence each, in what b's inputs, output and parts differ from a's."""
    for name, before, after in (
        ("inputs", _inputs(a), _inputs(b)),
        ("output", _output(a), _output(b)),
        ("served", a.served_as, b.served_as),
    ):
        if before != after:
            yield f"{name}: {before} -> {after}"


def stored_agreement(
    client: Client, a: LoadedModel, b: LoadedModel, *, requests: int, products: int, top_k: int, seed: int = 0
) -> Agreement | None:
    """Compare the models on stored features: ids that a knows, each model reading its own keys.

    Returns:
        None when there are no users or products under a's keys.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
    """
    random = np.random.default_rng(seed)
    users, items = (sample_ids(client, a.schema, entity) for entity in (a.schema.user, a.schema.product))
    if not users or not items:
        return None
    size = min(products, len(items))
    asked = [
        (users[random.integers(len(users))], [items[i] for i in random.choice(len(items), size, replace=False)])
        for _ in range(requests)
    ]
    (of_a, missing_a), (of_b, missing_b) = (_matrices(client, model.schema, asked) for model in (a, b))
    return _agreement(a, b, of_a, of_b, top_k=top_k, missing=(missing_a, missing_b))


def synthetic_agreement(
    a: LoadedModel, b: LoadedModel, *, requests: int, products: int, top_k: int, seed: int = 0
) -> Agreement:
    """Compare the models on made-up features, around each default; what has one name has one value in both."""
    random = np.random.default_rng(seed)
    matrices: tuple[list[Matrix], list[Matrix]] = ([], [])
    for _ in range(requests):
        drawn: dict[tuple[str, str], Matrix] = {}
        for model, made in zip((a, b), matrices, strict=True):
            columns = []
            for name, group in model.schema.groups.items():
                for feature in group.features:
                    if (name, feature.name) not in drawn:
                        size = 1 if name in model.schema.request_side else products
                        values = draw(feature, size, random)
                        drawn[name, feature.name] = np.broadcast_to(values, (products, feature.width))
                    columns.append(drawn[name, feature.name])
            made.append(np.hstack(columns))
    return _agreement(a, b, *matrices, top_k=top_k, missing=(0.0, 0.0))


def _matrices(
    client: Client, schema: FeatureSchema, asked: Sequence[tuple[str, list[str]]]
) -> tuple[list[Matrix], float]:
    """Return what a model gets to score for each request, and the share of the products that have no features."""
    user_at = {user: i for i, user in enumerate(dict.fromkeys(user for user, _ in asked))}
    product_at = {product: i for i, product in enumerate(dict.fromkeys(i for _, ids in asked for i in ids))}
    users = read_rows(client, schema, "user", list(user_at))
    products = read_rows(client, schema, "product", list(product_at))
    matrices = []
    for user, ids in asked:
        features = Features(some_rows(users, [user_at[user]]), some_rows(products, [product_at[i] for i in ids]))
        matrices.append(stored_matrix(client, schema, user, ids, features))
    return matrices, float(np.count_nonzero(products.statuses)) / len(product_at)


def _agreement(
    a: LoadedModel,
    b: LoadedModel,
    of_a: Sequence[Matrix],
    of_b: Sequence[Matrix],
    *,
    top_k: int,
    missing: tuple[float, float],
) -> Agreement:
    scores = [(a.score(matrix_a), b.score(matrix_b)) for matrix_a, matrix_b in zip(of_a, of_b, strict=True)]
    correlations = np.array([rank_correlation(scores_a, scores_b) for scores_a, scores_b in scores])
    overlaps = np.array([top_k_overlap(scores_a, scores_b, top_k) for scores_a, scores_b in scores])
    ordered = correlations[~np.isnan(correlations)]
    return Agreement(
        requests=len(scores),
        products=len(of_a[0]),
        ordered=len(ordered),
        correlation=float(ordered.mean()) if len(ordered) else np.nan,
        correlation_p5=float(np.percentile(ordered, 5)) if len(ordered) else np.nan,
        overlap=float(overlaps.mean()),
        overlap_p5=float(np.percentile(overlaps, 5)),
        missing=missing,
    )


def sample_ids(client: Client, schema: FeatureSchema, entity: EntitySchema) -> list[str]:
    """Return up to `SAMPLED_KEYS` ids of an entity that Redis has, sorted; of users without features, anybody's."""
    if not entity.features:
        return [ANYBODY]
    ids: dict[str, None] = {}
    for _, keys in scan.scan(client, scan.pattern_of(entity), wanted=lambda key: scan.belongs(key, entity, schema)):
        ids.update((found, None) for key in keys if (found := entity.id_in(key)) is not None)
        if len(ids) >= SAMPLED_KEYS:
            break
    return sorted(ids)


def some_rows(rows: Rows, positions: Sequence[int]) -> Rows:
    """Return rows at these positions."""
    statuses = rows.statuses[positions]
    return Rows(rows.values[positions], statuses, not statuses.any())


def _inputs(model: LoadedModel) -> str:
    return ", ".join(map(str, model.whole.inputs))


def _output(model: LoadedModel) -> str:
    output = model.whole.output
    if output.column is None:
        return f"{output.shape} {output.dtype}"
    return f"{output.shape} {output.dtype}, {output.column_named}"


def _group_differences(name: str, before: FeatureGroup, after: FeatureGroup) -> Iterator[str]:
    if isinstance(before, EntitySchema) and isinstance(after, EntitySchema):
        was, now = _storage(before), _storage(after)
        for what in dict.fromkeys((*was, *now)):
            if was.get(what) != now.get(what):
                yield f"{name}: {what} {was.get(what, 'unset')} -> {now.get(what, 'unset')}"
    old = {feature.name: feature for feature in before.features}
    new = {feature.name: feature for feature in after.features}
    if added := [feature for feature in new if feature not in old]:
        yield f"{name}: added {_listed(added)}"
    if removed := [feature for feature in old if feature not in new]:
        yield f"{name}: removed {_listed(removed)}"
    both = [feature for feature in old if feature in new]
    if both != [feature for feature in new if feature in old]:
        yield f"{name}: in another order"
    moved = [f for f in both if old[f].default_text != new[f].default_text]
    if moved:
        changes = [f"{f} {old[f].default_text} -> {new[f].default_text}" for f in moved]
        yield f"{name}: other defaults: {_listed(changes)}"
    if read := [f for f in both if old[f].model_dump(exclude={"default"}) != new[f].model_dump(exclude={"default"})]:
        yield f"{name}: read otherwise: {_listed(read)}"


def _storage(entity: EntitySchema) -> dict[str, Any]:
    """Return what a schema says of an entity beside its features, by name; without what it leaves unsaid."""
    fields = entity.model_dump(exclude={"features", "missing"}, exclude_none=True)
    return fields | {f"feast.{what}": value for what, value in fields.pop("feast", {}).items()}


def _text(value: Any) -> str:
    """Return what a schema says in one of its fields, as a file has it."""
    return "unset" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
