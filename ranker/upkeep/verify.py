"""Verification of one entity: the last load, the vectors' forms, their values, and who has none.

Nothing is written. Values are compared with the statistics that `ranker features load` recorded of its files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from ranker.ingest.files.statistics import Statistics
from ranker.ingest.read_back import ask, read_rows, read_stored
from ranker.ingest.record import Entity, LoadRecord, Target, entity_schema
from ranker.redis.clients import Client
from ranker.upkeep import scan
from ranker.upkeep.finding import Finding, fail, ok, warn
from ranker.upkeep.forms import form_in
from ranker.vectors.group import EntitySchema
from ranker.vectors.rows import RowStatus
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.formats import decoder_for

BATCH = 500
FEW = 100
"""Vectors below which a sample says little about a feature."""
SHIFT = 3.0
"""Recorded deviations by which a mean may move before it is worth a look."""
SHOWN = 5


def check_record(client: Client, schema: FeatureSchema, entity: Entity) -> tuple[Finding, Statistics | None]:
    """Tell whether the last load is whole; return the statistics it recorded, if any.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
    """
    check = f"{entity} load"
    target = Target.of(schema, entity)
    record = LoadRecord.read(client, target)
    if record is None:
        remedy = "Load with `ranker features load`, or ignore this where another program writes."
        seen = f"none of {target.key} is on record for this schema, so there is nothing to compare values with"
        return warn(check, seen, remedy), None
    statistics = Statistics.from_json(record.statistics, entity_schema(schema, entity).column_names)
    data = {"rows": record.rows, "rows_done": record.rows_done, "rejected": record.rejected, "updated": record.updated}
    if record.state != "complete":
        seen = f"the load of {record.updated} stopped after {record.rows_done:,} of {record.rows:,} rows, or still runs"
        return fail(check, seen, "Run it again with --resume.", **data), statistics
    if record.is_mixed:
        seen = f"complete, {record.updated}, while another load wrote the same keys: either's vectors may have stayed"
        return warn(check, seen, "Load the files one after the other, or all with one command.", **data), statistics
    return ok(check, f"complete: {record.rows - record.rejected:,} vectors, {record.updated}", **data), statistics


def check_stored(
    client: Client, schema: FeatureSchema, entity: Entity, sample: int | None, recorded: Statistics | None
) -> Iterator[Finding]:
    """Look at stored vectors, all of them or as many as `sample`, the first that SCAN finds.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
    """
    part = entity_schema(schema, entity)
    decoder = decoder_for(part, schema.fingerprint_of(part), schema.older_vectors(entity))
    found = Statistics(part.width)
    forms: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    examples: list[str] = []
    nan = unexpected = seen = 0
    may_be_nan = np.isnan(part.defaults)
    for feature in part.features:
        if feature.unknown == "nan":
            may_be_nan[part.slices[feature.name]] = True
    for server, batch in scan.scan(client, scan.pattern_of(part), BATCH, lambda key: scan.belongs(key, part, schema)):
        names = batch if sample is None else batch[: sample - seen]
        seen += len(names)
        values = read_stored(server, part, names)
        rows = decoder.decode(values)
        forms.update(form_in(part, value) or "unknown" for value in values if value is not None)
        for i in np.flatnonzero(rows.statuses != RowStatus.FOUND).tolist():
            if values[i] is None and not ask(server, [("EXISTS", names[i])])[0]:
                continue  # it has expired, or was deleted, since SCAN named it
            wrong[_trouble(RowStatus(rows.statuses[i]), values[i])] += 1
            examples += [names[i].decode(errors="replace")][: max(0, SHOWN - len(examples))]
        good = rows.values[rows.statuses == RowStatus.FOUND]
        is_nan = np.isnan(good)
        nan += int(is_nan.any(axis=1).sum())
        unexpected += int((is_nan & ~may_be_nan).any(axis=1).sum())
        found.add(good)
        if sample is not None and seen >= sample:
            break
    if not seen:
        remedy = "Load features, or check the key template of the model's schema."
        yield fail(f"{entity} vectors", f"there are no keys {scan.pattern_of(part)}", remedy)
        return
    yield _forms(entity, forms)
    yield _usable(entity, seen, wrong, examples, nan, unexpected)
    if found.count:
        yield _values(entity, part, found, recorded)


def check_coverage(client: Client, schema: FeatureSchema, entity: Entity, ids: Iterable[str]) -> Finding:
    """Tell how many of the ids have a usable vector.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
    """
    total = missing = 0
    examples: list[str] = []
    remaining = iter(ids)
    while batch := list(islice(remaining, BATCH)):
        rows = read_rows(client, schema, entity, batch)
        absent = np.flatnonzero(rows.statuses != RowStatus.FOUND)
        examples += [batch[i] for i in absent[: max(0, SHOWN - len(examples))]]
        total, missing = total + len(batch), missing + len(absent)
    data = {"ids": total, "missing": missing, "examples": examples}
    if not total:
        return fail(f"{entity} coverage", "no id was given to look for", "Give --ids a file with an id a line.", **data)
    check, seen = f"{entity} coverage", f"{total - missing:,} of {total:,} ids have a usable vector"
    if missing:
        return fail(check, f"{seen}; without one: {', '.join(examples)}", "Load the missing ones.", **data)
    return ok(check, seen, **data)


def _trouble(status: RowStatus, value: Any) -> str:
    """Say why a key that is there is none of a vector that counts."""
    if value is None:
        return "of another type"
    has_fields = any(field is not None for field in value)
    return "expired" if status is RowStatus.MISSING and has_fields else status.name.lower()


def _forms(entity: Entity, forms: Counter[str]) -> Finding:
    check, seen = f"{entity} form", ", ".join(f"{count:,} {form}" for form, count in forms.most_common())
    if forms["json"] or forms["json-in-json"]:
        return warn(check, seen, "`ranker features migrate` makes them binary while the service serves.", **forms)
    return ok(check, seen, **forms)


def _usable(
    entity: Entity, seen: int, wrong: Counter[str], examples: Sequence[str], nan: int, unexpected: int
) -> Finding:
    """Tell what the service can read; of the `nan` vectors with NaN, the schema does not expect it in `unexpected`."""
    check, data = f"{entity} vectors", {"vectors": seen, "nan": nan, "unexpected_nan": unexpected, **wrong}
    with_nan = f"{nan:,} with NaN, which the model is given as it is" if nan else ""
    if wrong:
        troubles = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in wrong.items())
        shown = f"{troubles}, such as {', '.join(examples)}{f'; {with_nan}' if nan else ''}"
        remedy = "Load them again for this model; until then they count as missing."
        return fail(check, f"of {seen:,} looked at: {shown}", remedy, **data)
    if unexpected:
        remedy = "Most models score NaN as NaN, which ranks last. Where it is meant, say `missing: nan` in the schema."
        return warn(check, f"{seen:,} looked at, all usable; {with_nan}", remedy, **data)
    return ok(check, f"{seen:,} looked at, all usable{f'; {with_nan}' if nan else ''}", **data)


def _values(entity: Entity, part: EntitySchema, found: Statistics, recorded: Statistics | None) -> Finding:
    """Compare features with what was recorded: exploding ones fail, constant and moved ones are worth a look.

    Columns of whole numbers, texts and sequences are left out: they are digits, bytes and padding, which say nothing
    by themselves.
    """
    check = f"{entity} values"
    few = found.count < FEW
    names, says = part.column_names, np.zeros(part.width, dtype=np.bool_)
    for feature in part.features:
        says[part.slices[feature.name]] = feature.kind.digits == 1 and not feature.is_sequence
    still = (found.deviation == 0) & says
    if recorded is None:
        constant = [] if few else [name for name, is_still in zip(names, still, strict=True) if is_still]
        if constant:
            return warn(check, f"constant: {_some(constant)}", "See that their source still moves.", constant=constant)
        return ok(check, f"{found.count:,} vectors; nothing recorded to compare with")
    span = recorded.max - recorded.min
    exploding = ((found.max > recorded.max + span) | (found.min < recorded.min - span)) & says
    has_moved = np.abs(found.mean - recorded.mean) > SHIFT * recorded.deviation
    moved = has_moved & (recorded.deviation > 0) & says & ~exploding
    frozen = still & (recorded.deviation > 0)
    masks = {"exploding": exploding}
    if not few:
        masks |= {"constant": frozen, "moved": moved & ~frozen}
    troubles = {word: [names[i] for i in np.flatnonzero(mask).tolist()] for word, mask in masks.items() if mask.any()}
    if not troubles:
        return ok(check, f"{found.count:,} vectors, like those of the load on record")
    seen = "; ".join(f"{word}: {_some(which)}" for word, which in troubles.items())
    if "exploding" in troubles:
        return fail(check, seen, "See what wrote them: the files that were loaded hold nothing like it.", **troubles)
    return warn(check, seen, "See that their source is sound, or whether the model should be trained anew.", **troubles)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
