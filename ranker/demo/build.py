"""Builds the example shop, or the synthetic catalogue: model into the store, vectors into Redis.

Each part is looked for where it must be and made only when it is not, so a second run changes nothing and a run after
something was wiped repairs just that. Owns the order of the steps and the record of what was done; must not know of
the command line.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ranker.demo.catalogue import Demo, Say, Step
from ranker.demo.loader import Loader
from ranker.process.bento_home import bento_home
from ranker.settings.environment import DEMO_EXAMPLES
from ranker.vectors.rows import Key
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import make_keys

STATE_FILE = "demo.json"
EXAMPLE_PRODUCTS = 100
SAMPLE = 1000
"""The most keys of each kind looked up to see whether a catalogue is loaded; all of them in the shop."""


@dataclass(frozen=True, slots=True)
class Done:
    """Record of a run, as `demo.json` has it.

    Attributes:
        recipe: Hash of the code and data that made it.
        model: Bento tag.
        schema: What the model's columns are.
        users: Number of users loaded.
        products: Number of products loaded.
        quality: The model's figures; None for the synthetic one.
    """

    recipe: str
    model: str
    schema: dict[str, Any]
    users: int
    products: int
    quality: dict[str, float] | None


def ensure(demo: Demo, loader: Loader, directory: Path, step: Step, *, force: bool = False) -> Done:
    """Have the demo's model in the store and its vectors in Redis, and write an example request.

    Args:
        demo: Which one.
        loader: Where the vectors go.
        directory: Where `demo.json` and the demo's example request go.
        step: Told of each step.
        force: Overwrite whatever lies under the demo's keys.

    Raises:
        ForeignFeatures: the keys hold something else, and force is not given. Nothing has been written then.
        StartupError: something else is amiss.
    """
    recorded = read_record(directory).get(demo.name)
    fresh = recorded if recorded and recorded.recipe == demo.recipe() else None
    with step("Looking for what is there already") as say:
        stored = bool(fresh and _is_stored(fresh.model))
        loaded = bool(fresh and _is_loaded(demo, loader, fresh))
        parts = {"model": stored, "vectors": loaded}
        say(", ".join(part for part, found in parts.items() if found) or "nothing")
    if fresh is None or not (stored and loaded):
        fresh = _make(demo, loader, recorded, fresh if stored else None, loaded, step, force)
        _record(directory, demo.name, fresh)
    example = {
        "requestId": "example-1",
        "userId": demo.user_ids(1)[0],
        "productIds": demo.product_ids(min(fresh.products, EXAMPLE_PRODUCTS)),
    }
    _write(directory / DEMO_EXAMPLES[demo.name], example)
    return fresh


def _make(
    demo: Demo, loader: Loader, recorded: Done | None, stored: Done | None, loaded: bool, step: Step, force: bool
) -> Done:
    """Make what is missing: the model unless it is stored, the vectors unless they are loaded."""
    catalogue = demo.read(step)
    fingerprint = catalogue.schema.fingerprint
    wanted = [
        (catalogue.schema.user, demo.user_ids(catalogue.users), catalogue.user_rows),
        (catalogue.schema.product, demo.product_ids(catalogue.products), catalogue.product_rows),
    ]
    if not loaded and not force:
        # An earlier version of the demo may have described its features otherwise; those are ours too.
        ours = {fingerprint} | ({FeatureSchema.from_mapping(recorded.schema).fingerprint} if recorded else set())
        for entity, ids, _ in wanted:
            loader.refuse_foreign(make_keys(entity, ids), ours)
    if stored is None:
        with step("Training the model and storing it") as say:
            # Imported late: it brings bentoml and ONNX Runtime.
            from ranker.importing.splitting.proving.choice import choose_split
            from ranker.scoring.registry import store_model

            onnx, quality = catalogue.train()
            split = choose_split(onnx, catalogue.schema)
            tag, _ = store_model(onnx, catalogue.schema, demo.name, split=split)
            say(tag)
    else:
        tag, quality = stored.model, stored.quality
    if not loaded:
        for entity, ids, rows in wanted:
            with step(f"Loading {entity.key.partition(':')[0]} vectors") as say:

                def progress(done: int, say: Say = say, total: int = len(ids)) -> None:
                    say(f"{done:,} of {total:,}")

                loader.load(entity, ids, rows(), fingerprint, progress)
    metadata = catalogue.schema.to_metadata()
    return Done(demo.recipe(), tag, metadata, catalogue.users, catalogue.products, quality)


def _is_stored(tag: str) -> bool:
    """Look for the model's files; asking bentoml would take longer than all else that a second run does.

    Where bentoml is configured to keep models elsewhere, the model is only trained again.
    """
    name, _, version = tag.partition(":")
    return all((bento_home() / "models" / name / version / file).is_file() for file in ("model.yaml", "model.onnx"))


def _is_loaded(demo: Demo, loader: Loader, done: Done) -> bool:
    schema = FeatureSchema.from_mapping(done.schema)
    sample: list[Key] = []
    for entity, ids in (
        (schema.user, demo.user_ids(done.users)),
        (schema.product, demo.product_ids(done.products)),
    ):
        # Evenly spaced, and always with the last: loading stops early, not late.
        sample += make_keys(entity, [*ids[:: -(-len(ids) // SAMPLE)], ids[-1]])
    return loader.count(sample, schema.fingerprint) == len(sample)


def read_record(directory: Path) -> dict[str, Done]:
    """Read what is recorded; whatever cannot be read was not done."""
    try:
        return {name: Done(**done) for name, done in json.loads((directory / STATE_FILE).read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _record(directory: Path, name: str, done: Done) -> None:
    _write(directory / STATE_FILE, {n: asdict(d) for n, d in (read_record(directory) | {name: done}).items()})


def _write(path: Path, value: Any) -> None:
    """Write JSON so that a reader never sees half of it."""
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(path)
