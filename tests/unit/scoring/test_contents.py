import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from ranker.scoring.contents import Contents, size_of_files
from ranker.scoring.model import OnnxModel
from ranker.vectors.schema import FeatureSchema
from tests.support.models import mlp_onnx, mlp_scores, schema_of_width

SCHEMA = schema_of_width(2, 3)


@pytest.fixture
def exported(tmp_path: Path) -> Contents:
    """A graph whose weights lie in a second file."""
    graph = onnx.load_from_string(mlp_onnx(5))
    onnx.save_model(graph, tmp_path / "m.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    return Contents((tmp_path / "m.onnx").read_bytes(), SCHEMA, (tmp_path / "weights",))


def test_weights_are_written_found_and_counted_beside_the_graph(exported: Contents, tmp_path: Path) -> None:
    folder = tmp_path / "stored"
    folder.mkdir()
    exported.write(folder)
    content = (tmp_path / "weights").read_bytes()
    (tmp_path / "weights").unlink()
    assert size_of_files(folder, {"weights": {"weights": "…"}}) == len(exported.graph) + len(content)
    rows = np.random.default_rng(0).random((4, 5), dtype=np.float32)
    model = OnnxModel(folder / "model.onnx", SCHEMA, folder=folder)
    np.testing.assert_allclose(model.score(rows), mlp_scores(rows), atol=1e-5)


def test_the_version_is_a_digest_that_others_can_make(exported: Contents) -> None:
    weights = {"weights": hashlib.sha256(exported.weights[0].read_bytes()).hexdigest()}
    assert exported.metadata["weights"] == weights
    schema = json.dumps(SCHEMA.to_metadata(), sort_keys=True, separators=(",", ":")).encode()
    said = json.dumps(weights, separators=(",", ":")).encode()
    assert exported.version == hashlib.sha256(exported.graph + schema + said).hexdigest()[:12]


def test_metadata_in_another_order_is_the_same_model(tmp_path: Path) -> None:
    contents = Contents(b"graph", SCHEMA)
    contents.write(tmp_path)
    assert contents.equal(tmp_path, dict(reversed(contents.metadata.items())))
    assert not contents.equal(tmp_path, contents.metadata | {"format": 2})


def test_a_schema_whose_lines_stand_in_another_order_has_the_same_version() -> None:
    turned = FeatureSchema.from_mapping(dict(reversed(SCHEMA.to_metadata().items())))
    assert Contents(b"graph", turned).version == Contents(b"graph", SCHEMA).version
