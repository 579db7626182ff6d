"""Layout: features by name, and the columns of the matrix that they lie in.

Owns how names of the schema's `inputs:`, `columns:` and `score:` are read. Knows nothing of graphs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ranker.errors import ModelRejected
from ranker.vectors.feature import Feature
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.side_information import SideInformation


@dataclass(frozen=True, slots=True)
class Located:
    """A feature and its columns.

    Attributes:
        group: The name of its group.
        feature: What the schema says of it.
        start: Its first column of the matrix.
        is_request_side: Whether its value is the same for all products of a request.
        history: The history whose products it is looked up for; None for any other feature.
    """

    group: str
    feature: Feature
    start: int
    is_request_side: bool
    history: str | None = None

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
        self.features: list[Located] = []
        self._by_name: dict[str, list[Located]] = {}
        start = 0
        for group_name, group in schema.groups.items():
            for feature in group.features:
                history = group.history if isinstance(group, SideInformation) else None
                located = Located(group_name, feature, start, group_name in schema.request_side, history)
                start += feature.width
                self.features.append(located)
                if isinstance(group, SideInformation):  # goes by its full name, and the history is no group
                    names = {located.name, group.source_of(feature)}
                else:
                    names = {feature.name, located.name}
                    self.groups.setdefault(group_name, []).append(located)
                for name in names:
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
