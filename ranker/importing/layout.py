"""Layout: features by name, and the columns of the matrix that they lie in.

Owns how names of the schema's `inputs:`, `columns:` and `score:` are read. Knows nothing of graphs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ranker.errors import ModelRejected
from ranker.vectors.feature import Feature
from ranker.vectors.schema import FeatureSchema


@dataclass(frozen=True, slots=True)
class Located:
    """A feature and its columns.

    Attributes:
        group: The name of its group.
        feature: What the schema says of it.
        start: Its first column of the matrix.
        is_request_side: Whether its value is the same for all products of a request.
    """

    group: str
    feature: Feature
    start: int
    is_request_side: bool

    @property
    def name(self) -> str:
        return f"{self.group}.{self.feature.name}"

    @property
    def columns(self) -> range:
        return range(self.start, self.start + self.feature.width)


class Layout:
    """All features of a schema, in the order of their columns."""

    def __init__(self, schema: FeatureSchema) -> None:
        self.groups: dict[str, list[Located]] = {}
        start = 0
        for name, group in schema.groups.items():
            self.groups[name] = []
            for feature in group.features:
                self.groups[name].append(Located(name, feature, start, name in schema.request_side))
                start += feature.width
        self.features = [located for group in self.groups.values() for located in group]
        self._by_name: dict[str, list[Located]] = {}
        for located in self.features:
            for name in {located.feature.name, located.name}:
                self._by_name.setdefault(name, []).append(located)

    def find(self, name: str) -> list[Located]:
        """Return the features that have this name, alone or behind their group's; several where groups share it."""
        return self._by_name.get(name, [])

    def resolve(self, name: str, where: str) -> list[Located]:
        """Return the features of a group, or the one feature of this name.

        Raises:
            ModelRejected: there is none, or several groups have one.
        """
        if name in self.groups:
            return self.groups[name]
        found = self.find(name)
        if len(found) > 1:
            ways = " or ".join(f"`{located.name}`" for located in found)
            raise ModelRejected(
                f"{where} says {name}, and {len(found)} groups have a feature of that name: say {ways}."
            )
        if not found:
            known = ", ".join(located.feature.name for located in self.features[:12])
            raise ModelRejected(
                f"{where} says {name}, which is neither a group ({', '.join(self.groups)}) nor a feature of the schema "
                f"({known}{', …' if len(self.features) > 12 else ''})."
            )
        return found

    def resolve_all(self, names: Iterable[str], where: str) -> list[Located]:
        """Return the features of several names, side by side.

        Raises:
            ModelRejected: as `resolve`, or a feature comes twice.
        """
        found = [located for name in names for located in self.resolve(name, where)]
        twice = sorted({located.name for located in found if found.count(located) > 1})
        if twice:
            raise ModelRejected(f"{where} says {', '.join(twice[:3])} twice.")
        return found
