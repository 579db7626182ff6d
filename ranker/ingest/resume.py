"""Resume point: the record of the last load, for `--resume`, if what it says can be relied on.

Owns which loads are the same, and the look at the vectors that a record says are written. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranker.errors import WrongResume
from ranker.ingest.read_back import read_rows
from ranker.ingest.record import LoadRecord, Target
from ranker.redis.clients import Client
from ranker.vectors.rows import RowStatus
from ranker.vectors.schema import FeatureSchema

SHOWN = 3


def find_earlier(
    client: Client, schema: FeatureSchema, target: Target, files: Sequence[str], options: Mapping[str, Any]
) -> tuple[LoadRecord | None, str]:
    """Return the record of the load to go on with, and a sentence where there is none: all rows are loaded then.

    Args:
        client: Where the vectors are.
        schema: What they are.
        target: Which vectors are to be loaded.
        files: The files' signatures.
        options: What else decides which vectors the files' rows become.

    Raises:
        WrongResume: the last load of these vectors was another one.
        StoreUnavailable: Redis does not answer, or refuses.
    """
    record = LoadRecord.read(client, target)
    if record is None:
        return None, f"No load of {target.key} is on record for this schema, so all rows are loaded."
    if record.files != tuple(files):
        raise WrongResume(f"the last load of {target.key} was of other files, or they have changed")
    if changed := [name for name, value in options.items() if record.options.get(name) != value]:
        then = ", ".join(f"{name} {record.options.get(name)!r}, now {options[name]!r}" for name in changed)
        raise WrongResume(f"the last load of {target.key} had other options ({then})")
    if record.is_mixed:
        return None, f"Of {target.key}, another load wrote the same keys at the same time, so all rows are loaded."
    if not record.rows_done:
        return record, ""
    rows = read_rows(client, schema, target.entity, record.ids)
    absent = np.flatnonzero(rows.statuses != RowStatus.FOUND).tolist()
    if absent or not record.ids:
        such = f", such as {', '.join(record.ids[i] for i in absent[:SHOWN])}" if absent else ""
        looked = f"of {len(record.ids):,} ids looked at, {len(absent):,} have no usable vector any more{such}"
        return None, f"What the last load of {target.key} wrote is not all there ({looked}), so all rows are loaded."
    return record, ""
