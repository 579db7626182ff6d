"""Model registry: the ONNX file in the Bento model store, with its feature schema as the model's metadata.

Owns what is checked before a model is stored, and when it is opened. What a stored model holds `contents` says, and how
the store is kept `model_store`. Knows nothing of the command line or of serving.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeAlias

import bentoml
from bentoml.exceptions import NotFound

from ranker.errors import InvalidSchema, ModelNotFound, ModelNotStored, ModelRejected, ModelUnusable
from ranker.scoring import model_store
from ranker.scoring.contents import FORMAT, MODEL_FILE, Contents, refuse_taken_names, size_of_files
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.model import OnnxModel
from ranker.scoring.split import files
from ranker.scoring.split.files import Description, SplitChoice
from ranker.scoring.split.parts import Parts
from ranker.vectors.schema import FeatureSchema

StoredModel: TypeAlias = bentoml.Model
"""A model in the store, for modules that do not import BentoML."""
METADATA_KEY = "ranker"
MAX_NEAR_TAGS = 5
TRIAL_LIMIT_S = 60.0


def store_model(
    onnx_bytes: bytes,
    schema: FeatureSchema,
    name: str,
    version: str | None = None,
    *,
    limit_s: float = TRIAL_LIMIT_S,
    weights: Sequence[Path] = (),
    split: SplitChoice | None = None,
) -> tuple[str, bool]:
    """Check a graph, run it, and store it with its schema; storing the same thing again changes nothing.

    Args:
        onnx_bytes: The ONNX file.
        schema: What its columns are; ids that it looks up in tables get their bounds.
        name: The model's name in the store.
        version: Its version; by default made from the content, so that equal content has one tag.
        limit_s: Seconds that each of the two trials of the graph may take.
        weights: Files of one folder that the graph has weights in; none where they are inside.
        split: What was decided of its split; it is part of the content, for it is what is served.

    Returns:
        The tag, `name:version`, and whether it was created now (False: it was there already).

    Raises:
        ModelRejected: the graph cannot serve as a ranking model.
        ModelNotStored: the tag is invalid or holds another model, or the store cannot be written.
    """
    refuse_taken_names(name, weights)
    folder = weights[0].parent if weights else None
    trial = OnnxModel(onnx_bytes, schema, limit_s=limit_s, folder=folder)
    trial.refuse_batch_effects(limit_s)
    contents = Contents(onnx_bytes, trial.find_bounds(limit_s), tuple(weights), split)
    tag = _tag(name, version if version is not None else contents.version)
    with model_store.writing(tag):
        found = _compare(tag, contents)
        if found == "same":
            return tag, False
        if found == "other" and version is not None:
            raise ModelNotStored(tag, "the tag holds another model. Choose another --version, or leave it out.")
        if found != "absent":  # the remains of an import that was killed; a version made from content has no other
            model_store.delete(tag)
        model_store.refuse_damaged_latest(tag)
        labels = {"fingerprint": contents.metadata["fingerprint"]}
        with bentoml.models.create(tag, labels=labels, metadata={METADATA_KEY: contents.metadata}) as model:
            contents.write(Path(model.path))
    return tag, True


def find_model(tag: str) -> bentoml.Model:
    """Return the stored model with this very tag; without a version, the latest.

    Raises:
        ModelNotFound: there is none; it names tags that are near.
        ModelUnusable: the tag is invalid, or what is stored under it is damaged.
    """
    try:
        return model_store.find(tag)
    except NotFound:
        raise ModelNotFound(tag, _near(tag)) from None


def list_models() -> list[bentoml.Model]:
    """Return the stored models that carry a feature schema, sorted by tag, without those that are damaged.

    Raises:
        ModelUnusable: the store cannot be read.
    """
    return [model for model in model_store.read_all()[0] if METADATA_KEY in model.info.metadata]


def schema_of(model: bentoml.Model) -> FeatureSchema:
    """Read the feature schema that a stored model carries.

    Raises:
        ModelUnusable: it carries none, or one of an unknown format, or its fingerprint is of another schema.
    """
    tag = str(model.tag)
    metadata = model.info.metadata.get(METADATA_KEY)
    if not isinstance(metadata, dict):
        raise ModelUnusable(tag, "it carries no feature schema. Store it with `ranker model import`.")
    if metadata.get("format") != FORMAT:
        raise ModelUnusable(tag, f"its metadata has format {metadata.get('format')!r}; this version reads {FORMAT}.")
    try:
        schema = FeatureSchema.from_mapping(metadata.get("schema"))
    except InvalidSchema as err:
        raise ModelUnusable(tag, str(err)) from err
    given = metadata.get("fingerprint")
    if given != f"{schema.fingerprint:08x}":
        seen = f"its metadata gives the fingerprint {given!r}, its schema {schema.fingerprint:08x}"
        raise ModelUnusable(tag, f"{seen}: it was changed by hand. Import it again.")
    return schema


def load_model(model: bentoml.Model, *, threads: int = 1) -> LoadedModel:
    """Open a stored model for scoring: in parts where its graph was split, else whole.

    Raises:
        ModelUnusable: its schema cannot be read, its files are missing or damaged, or they do not fit.
    """
    schema, parts, folder = schema_of(model), parts_of(model), Path(model.path)
    with _usable(model):
        return LoadedModel.open(folder / MODEL_FILE, schema, parts, files.read_note(folder), threads)


def is_split(model: bentoml.Model) -> bool:
    """Whether a stored model's graph is served in parts."""
    return "split" in model.info.metadata[METADATA_KEY]  # type: ignore[operator]  # a mapping, as `schema_of` has seen


def parts_of(model: bentoml.Model) -> Parts | None:
    """Read the parts of a stored model's graph; None where it is served whole.

    Raises:
        ModelUnusable: they are missing or damaged.
    """
    if not is_split(model):
        return None
    metadata: Any = model.info.metadata[METADATA_KEY]
    with _usable(model):
        return files.read_parts(Path(model.path), Description.read(metadata["split"]))


@contextmanager
def _usable(model: bentoml.Model) -> Iterator[None]:
    try:
        yield
    except ModelRejected as err:
        raise ModelUnusable(str(model.tag), f"{err} Import it again.") from err


def _near(tag: str) -> list[str]:
    """Return tags in the store that may have been meant: those that begin so, look like it, or have such a name."""
    try:
        tags = [str(model.tag) for model in list_models()]
    except ModelUnusable:  # the advice would need the store
        return []
    asked = str(bentoml.Tag.from_taglike(tag))
    begin = [other for other in tags if other.startswith(asked)]
    names = get_close_matches(asked.partition(":")[0], {other.partition(":")[0] for other in tags})
    named = [other for other in tags if other.partition(":")[0] in names]
    return list(dict.fromkeys([*begin, *get_close_matches(asked, tags), *named]))[:MAX_NEAR_TAGS]


def _tag(name: str, version: str) -> str:
    tag = f"{name}:{version}"
    if version == "latest":
        raise ModelNotStored(tag, "`latest` means the newest version. Choose another --version, or leave it out.")
    try:
        return str(bentoml.Tag(name.lower(), version.lower()))
    except ValueError:
        rule = "is up to 63 letters, digits, '-', '_', '.', and begins and ends with a letter or digit."
        raise ModelNotStored(tag, f"a name or version {rule}") from None


def _compare(tag: str, contents: Contents) -> Literal["absent", "same", "other", "damaged"]:
    """Compare what the store holds under a tag with a model."""
    try:
        stored = model_store.find(tag)
        same = contents.equal(Path(stored.path), stored.info.metadata.get(METADATA_KEY))
    except NotFound:
        return "absent"
    except (OSError, ModelUnusable):
        return "damaged"
    return "same" if same else "other"


def size_of(model: bentoml.Model) -> int:
    """Return the bytes of a stored graph, with its weights and its parts."""
    metadata: Any = model.info.metadata[METADATA_KEY]
    return size_of_files(Path(model.path), metadata)
