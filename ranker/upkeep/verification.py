"""Verification plan: which checks `ranker features verify` makes, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from ranker.errors import UnreadableFile
from ranker.ingest.files.dialect import Dialect
from ranker.ingest.files.opening import USUAL, open_source
from ranker.ingest.files.rows import Columns
from ranker.ingest.files.source import Source
from ranker.ingest.record import Entity, entity_schema
from ranker.redis.clients import Client
from ranker.upkeep import parity
from ranker.upkeep.finding import Finding
from ranker.upkeep.verify import check_coverage, check_record, check_stored
from ranker.vectors.schema import FeatureSchema


@dataclass(frozen=True, slots=True)
class Wanted:
    """Options of a verification.

    Attributes:
        entities: Whose features.
        model: Tag of the model that ranks at `service`; None where no service is asked.
        ids: Ids of the one entity that must have a vector.
        sample: Stored vectors to look at; None for all.
        files: Training files to compare with.
        id_column: The column with the ids there.
        service: Where to ask for rankings; needs both files.
        token: What the service wants to be shown; None for nothing.
        allow_rounding: Whether whole numbers may be stored as float32 has them.
        dialect: How the files are written that are text.
    """

    entities: tuple[Entity, ...]
    model: str | None
    ids: Iterable[str] | None
    sample: int | None
    files: Mapping[Entity, Path | None]
    id_column: str
    service: str | None
    token: str | None = field(default=None, repr=False)
    allow_rounding: bool = False
    dialect: Dialect = USUAL


def ids_in(file: TextIO) -> Iterator[str]:
    """Yield the lines that are not blank.

    Raises:
        UnreadableFile: they are no UTF-8.
    """
    try:
        for line in file:
            if line.strip():
                yield line.rstrip("\r\n")
    except UnicodeDecodeError as err:
        raise UnreadableFile(file.name, "it is no UTF-8") from err


def findings(client: Client, wanted: Wanted, schema: FeatureSchema) -> Iterator[Finding]:
    """Check one thing after the other.

    Raises:
        RankerError: something that is needed cannot be had: the model, a file, Redis or the service.
    """
    files = dict(_opened(wanted, schema))
    for entity in wanted.entities:
        finding, recorded = check_record(client, schema, entity)
        yield finding
        yield from check_stored(client, schema, entity, wanted.sample, recorded)
        if wanted.ids is not None:
            yield check_coverage(client, schema, entity, wanted.ids)
    samples: dict[Entity, parity.Sample] = {}
    for entity, (source, columns) in files.items():
        finding, samples[entity] = parity.check_file(client, schema, entity, source, columns)
        yield finding
    if wanted.service is not None and wanted.model is not None:
        # Imported late: bentoml takes seconds.
        from ranker.scoring.registry import find_model, load_model

        stored = find_model(wanted.model)
        service, model = parity.Service(wanted.service, wanted.token), load_model(stored)
        yield parity.check_scores(client, service, str(stored.tag), model, samples["user"], samples["product"])


def _opened(wanted: Wanted, schema: FeatureSchema) -> Iterator[tuple[Entity, tuple[Source, Columns]]]:
    """Yield each training file that is given, opened: one that cannot be read is told before the checks, not after.

    Raises:
        FeatureError: it cannot be read, or lacks columns.
    """
    for entity, path in wanted.files.items():
        if path is not None:
            part = entity_schema(schema, entity)
            columns = Columns.of(part, wanted.id_column, allow_rounding=wanted.allow_rounding)
            yield entity, (open_source(path, columns, wanted.dialect), columns)
