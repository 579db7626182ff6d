"""Side information of a history: features of the products in it, looked up by their ids and padded as it is.

Owns what a schema may ask for by `HISTORY.FEATURE`, and the columns that this becomes. Knows nothing of how products
are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ranker.vectors.feature import MAX_WIDTH, Feature
from ranker.vectors.feature.values import default_columns
from ranker.vectors.group import FeatureGroup
from ranker.vectors.input_source import InputSource
from ranker.vectors.keyed_group import KeyedGroup


class SideInformation(FeatureGroup):
    """Columns of a history's side information: each feature is a sequence, as long as the history and padded like it.

    Where a product has no usable features, its elements are the defaults of `product`; behind the history they are 0.
    """

    of: str
    """The group that the history is in."""
    history: str
    """The history, a feature of that group."""

    def source_of(self, feature: Feature) -> str:
        """Return the full name by which the schema may ask for one of its features."""
        return f"{self.of}.{self.history}.{feature.name}"


def find_side_information(
    groups: Mapping[str, FeatureGroup],
    inputs: Mapping[str, InputSource] | None,
    columns: Sequence[str] | None,
) -> dict[str, SideInformation]:
    """Find what a schema asks for of the products in histories.

    Args:
        groups: Its groups, by name.
        inputs: What it says of inputs.
        columns: Its order of columns.

    Returns:
        By the name of the history; with its group's before it where another feature or group has that name.

    Raises:
        ValueError: it asks for what a history, or a product, does not have.
    """
    if not (sources := dict.fromkeys(_sources(inputs, columns))):
        return {}
    asked: dict[tuple[str, str], dict[str, Feature]] = {}
    known = _names(groups)
    for source in sources:
        if source not in known and (found := _read(source, groups)) is not None:
            of, history, feature = found
            asked.setdefault((of, history.name), {})[feature.name] = _as_sequence(source, history, feature)
    named = [name for part in groups.values() for name in part.names]
    return {
        history if named.count(history) == 1 and history not in groups else f"{of}.{history}": (
            SideInformation.model_construct(features=tuple(features.values()), of=of, history=history)
        )
        for (of, history), features in asked.items()
    }


def _sources(inputs: Mapping[str, InputSource] | None, columns: Sequence[str] | None) -> Iterator[str]:
    """Yield what may be the name of side information: a mask or a length is the history's own."""
    yield from columns or ()
    for said in (inputs or {}).values():
        if isinstance(said, str):
            yield said
        elif isinstance(said, tuple):
            yield from said


def _read(source: str, groups: Mapping[str, FeatureGroup]) -> tuple[str, Feature, Feature] | None:
    """Return the group, the history and the product's feature that a source names; None where it names no history."""
    for history_name, name in _ways_to_part(source):
        found = [
            (group, feature)
            for group, part in groups.items()
            for feature in part.features
            if history_name in (feature.name, f"{group}.{feature.name}")
        ]
        histories = [(group, feature) for group, feature in found if feature.type == "product"]
        if not found:
            continue
        if len(histories) > 1:
            ways = " or ".join(f"{group}.{source}" for group, _ in histories)
            raise ValueError(f"{source}: {len(histories)} groups have a history {history_name}: say {ways}")
        if not histories:
            raise ValueError(
                f"{source}: {history_name} is {found[0][1].type}, and only a history of products has side information: "
                "give it `type: product` and a `length`"
            )
        ((of, history),) = histories
        feature = next((f for f in groups["product"].features if f.name == name), None)
        if problem := _problem(of, history, groups[of]) or _no_side_information(name, feature):
            raise ValueError(f"{source}: {problem}")
        assert feature is not None  # said by _no_side_information
        return of, history, feature
    return None


def _ways_to_part(source: str) -> Iterator[tuple[str, str]]:
    """Yield a source parted at each of its dots, for names may have dots in them."""
    for at, letter in enumerate(source):
        if letter == ".":
            yield source[:at], source[at + 1 :]


def _problem(of: str, history: Feature, group: FeatureGroup) -> str | None:
    """Say why the products of a history cannot be looked up."""
    if default_columns(history)[0]:
        return f"{history.name} has a default with products in it, and none of them is looked up: leave `default` out"
    if of in ("product", "productContext") or (isinstance(group, KeyedGroup) and not group.is_request_side):
        return (
            f"{history.name} is another history for each product, and only those of a request are looked up: move it "
            "to `user`, `context` or a group that is `per: user`"
        )
    if isinstance(group, KeyedGroup) and group.template.is_asked_late:
        return (
            f"the keys of {of} are made of stored features, so its products would be known after two round trips: keep "
            f"{history.name} in `user`, or in a group whose key is made of the request alone"
        )
    return None


def _no_side_information(name: str, feature: Feature | None) -> str | None:
    """Say why a product's feature cannot be looked up for a history."""
    if feature is None:
        return f"{name} is no feature of `product`: name one of its features, or add it there"
    if feature.is_sequence:
        return f"{name} is a sequence, and so of another length for each product in a history: keep it out of `inputs:`"
    if feature.type == "text":
        return (
            f"{name} is text, which no graph takes: give it `type: category` with the vocabulary that the model knows"
        )
    return None


def _as_sequence(source: str, history: Feature, feature: Feature) -> Feature:
    """Return the sequence of a feature's values, one for each product in a history."""
    kept = ("name", "type", "shape", "vocabulary", "unknown", "min", "max", "missing")
    fields = {key: getattr(feature, key) for key in kept}
    # Not validated, for a single value may be what an element of a sequence cannot be declared: NaN.
    sequence = Feature.model_construct(**fields, length=history.length, order=history.order, padding=history.padding)
    if sequence.width > MAX_WIDTH:
        raise ValueError(
            f"{source} would take {sequence.width:,} columns, and {MAX_WIDTH:,} are the most: make {history.name} or "
            f"{feature.name} shorter"
        )
    return sequence


def unclear_sources(
    groups: Mapping[str, FeatureGroup],
    inputs: Mapping[str, InputSource] | None,
    columns: Sequence[str] | None,
) -> Iterator[str]:
    """Yield sources that are the name of a feature, and might be meant as a history's side information."""
    histories = {f.name for part in groups.values() for f in part.features if f.type == "product"}
    known = _names(groups) if histories else set()
    for source in dict.fromkeys(_sources(inputs, columns)) if histories else ():
        ways = _ways_to_part(source) if source in known else ()
        if any(history in histories and name in groups["product"].slices for history, name in ways):
            yield source


def _names(groups: Mapping[str, FeatureGroup]) -> set[str]:
    """Return every name that a source may have which is no side information."""
    return {*groups, *(name for group, part in groups.items() for f in part.names for name in (f, f"{group}.{f}"))}
