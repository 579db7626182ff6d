"""Feature errors: the stored data's fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from ranker.errors.base import RankerError


class FeatureError(RankerError):
    """A stored feature vector, or one about to be stored, cannot be used."""


class WrongWidth(FeatureError):
    def __init__(self, got: int, expected: int) -> None:
        super().__init__(f"The vector has {got} values; the schema names {expected} features.")


class WrongFingerprint(FeatureError):
    def __init__(self, got: int, expected: int) -> None:
        super().__init__(f"The vector was written for schema {got:08x}; this model reads schema {expected:08x}.")


class RoundedNumber(FeatureError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"Its {name} is a whole number that is not the same in float32, as which alone it would be kept; "
            "--allow-rounding takes it so."
        )


class CorruptVector(FeatureError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"The stored bytes are no feature vector: {reason}.")


class ExpiredRow(FeatureError):
    def __init__(self, age_s: float, ttl_s: float) -> None:
        super().__init__(
            f"Its event is {timedelta(seconds=round(age_s))} ago and the view's ttl_s {ttl_s:g}, so it counts as "
            "missing. Materialize it again, or raise `ttl_s` in the schema."
        )


class UnusableValue(FeatureError):
    """A value is none of its feature's type.

    Attributes:
        reason: What it is, as a part of a sentence that names the feature.
        unknown: Whether it is a category that the vocabulary lacks.
    """

    def __init__(self, name: str, reason: str, *, unknown: bool = False) -> None:
        self.reason, self.unknown = reason, unknown
        super().__init__(f"{name}: {reason}.")


class WrongMatrix(FeatureError):
    def __init__(self, dtype: object, shape: tuple[int, ...], n: int, width: int, *, frame: bool = False) -> None:
        super().__init__(
            f"The {dtype} matrix of shape {shape} says nothing of features that are no numbers; hand over a "
            "data frame, with a column for each feature."
            if frame
            else f"The {dtype} matrix has shape {shape}; expected numbers of shape ({n}, {width})."
        )


class WrongColumn(FeatureError):
    def __init__(self, name: str, dtype: object, shape: tuple[int, ...], n: int) -> None:
        super().__init__(f"The column {name} holds {dtype} of shape {shape}; expected {n} numbers.")


class WrongColumns(FeatureError):
    """A data frame's columns are not the features."""

    def __init__(
        self,
        missing: Sequence[object],
        unknown: Sequence[object],
        repeated: Sequence[object],
        names: Sequence[str],
        *,
        or_array: bool = True,
    ) -> None:
        differences = {"lacks": missing, "has, and the schema has not,": unknown, "has more than once": repeated}
        parts = [f"{verb} {_listed([str(name) for name in which])}" for verb, which in differences.items() if which]
        super().__init__(
            f"The data frame {'; it '.join(parts)}. Its columns are matched by name with {_listed(names)}: "
            + ("select those, or hand over an array (n, W) in this order." if or_array else "give each of them one.")
        )


class ForeignFormat(FeatureError):
    def __init__(self, key: str, stored_as: str) -> None:
        super().__init__(
            f"The schema says that {key} is stored as {stored_as}, which Ranker reads and does not write. Leave out "
            "its format to have version-1 vectors there."
        )


class InvalidRows(FeatureError):
    """Rows handed to a writer, of which none has been written.

    Attributes:
        problems: Row (from 0) and what is wrong with it, for each row at fault.
    """

    def __init__(self, problems: Sequence[tuple[int, str]]) -> None:
        self.problems = tuple(problems)
        shown = "; ".join(f"row {row}: {reason}" for row, reason in self.problems[:5])
        more = f"; and {len(self.problems) - 5} more" if len(self.problems) > 5 else ""
        super().__init__(f"{len(self.problems)} row(s) cannot be stored: {shown}{more}.")


class UnreadableFile(FeatureError):
    def __init__(self, path: object, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{path} cannot be read: {reason}.")


class UnwritableFile(FeatureError):
    def __init__(self, path: object, reason: str, remedy: str) -> None:
        super().__init__(f"{path} cannot be written: {reason}. {remedy}")


class UnusableRejects(FeatureError):
    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"Rejected rows cannot be listed in {path}: {reason}. Give --rejects another file.")


class MissingColumns(FeatureError):
    def __init__(self, path: object, columns: Sequence[str], present: Sequence[str]) -> None:
        self.columns = tuple(columns)
        super().__init__(
            f"{path} lacks the column(s) {_listed(columns)}; it has {_listed(present) or 'none'}. Columns are matched "
            "by name; --id-column names the one with the ids."
        )


class ForeignRecord(FeatureError):
    def __init__(self, tag: str, fingerprint: int, widths: Sequence[int], other: int) -> None:
        super().__init__(
            f"What {tag} served has {' + '.join(map(str, widths))} columns of schema {fingerprint:08x}; the model to "
            f"rank it with takes others (schema {other:08x}). Name another with --model."
        )


class RejectedRows(FeatureError):
    def __init__(self, counts: Mapping[str, int], examples: Sequence[str], rows: int, consequence: str) -> None:
        self.counts = dict(counts)
        lines = [f"  - {reason}: {count:,} row(s)" for reason, count in counts.items()]
        first = [f"  - {example}" for example in examples]
        super().__init__(
            "\n".join(
                [
                    f"{sum(counts.values()):,} of {rows:,} rows cannot be loaded:",
                    *lines,
                    "The first:",
                    *first,
                    consequence,
                ]
            )
        )


class WrongResume(FeatureError):
    """`--resume` was asked for, and what is recorded in Redis is another load."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The load cannot be resumed: {reason}. Load without --resume to begin anew.")


class UnknownGroup(FeatureError):
    def __init__(self, name: str, known: Sequence[str]) -> None:
        groups = f"its groups are {_listed(known)}" if known else "it has no `groups:`"
        super().__init__(f"The schema has no group {name}: {groups}. Name one of them, or add it to the schema.")


class NoUserFeatures(FeatureError):
    def __init__(self) -> None:
        super().__init__("The schema has no `user:`, so there is nothing to store of users. Leave them out.")


class GroupsNotInFiles(FeatureError):
    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"The files do not say all that is ranked by: name one for each of the schema's groups with --group "
            f"NAME=FILE, of which there is none for {_listed(names)}; or leave all files out, and Redis is read."
        )


class UnknownEntity(FeatureError):
    def __init__(self, pattern: str, templates: Sequence[str]) -> None:
        super().__init__(
            f"Whose the keys {pattern} are cannot be told from the schema's key templates "
            f"({', '.join(templates)}). Give --entity or --group."
        )


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class InvalidLabels(FeatureError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"No metric can be had of this frame: {reason}.")


class NoSuchLibrary(FeatureError):
    def __init__(self, library: str) -> None:
        super().__init__(
            f"There is no library {library!r} here to make data frames with; install it, or give another as library=: "
            "pandas, polars or pyarrow."
        )


class NameTaken(FeatureError):
    def __init__(self, name: str) -> None:
        super().__init__(f"A feature is called {name!r}, as a column beside the features would be.")


class NoIds(FeatureError):
    def __init__(self, column: str, present: Sequence[str]) -> None:
        shown = ", ".join(map(str, present[:12])) or "none"
        super().__init__(f"The data frame has no column and no index {column!r} with ids; its columns: {shown}.")


class WrongIds(FeatureError):
    """Ids that cannot be told to be those of the rows beside them."""

    def __init__(self, said: str) -> None:
        super().__init__(f"The ids {said}.")


class UnknownLists(FeatureError):
    def __init__(self, tag: str) -> None:
        super().__init__(
            f"The model {tag} scores the products of a list together, and nothing says which rows are one list; give "
            "a frame, and the column of it that does as list_column."
        )


class SeveralModels(FeatureError):
    def __init__(self, tags: Sequence[str]) -> None:
        super().__init__(
            f"The log is of models with other columns than one another, {', '.join(sorted(tags))}; name one of them."
        )
