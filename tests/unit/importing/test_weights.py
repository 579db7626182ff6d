"""Weights beside a graph come along, inside it or as files; and no other file is ever read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from ranker.errors import ModelNotStored, ModelRejected
from ranker.importing.compile import compile_graph
from ranker.importing.weights import read_files
from ranker.scoring.model import OnnxModel
from ranker.scoring.registry import find_model, load_model, size_of, store_model
from tests.support.models import mlp_onnx, mlp_scores, schema_of_width, temporary_model_store

SCHEMA = schema_of_width(2, 3)
ROWS = np.random.default_rng(0).random((20, 5), dtype=np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A graph as PyTorch writes it by default: model.onnx, and model.onnx.data beside it."""
    path = tmp_path / "model.onnx"
    graph = onnx.load_from_string(mlp_onnx(5))
    onnx.save_model(graph, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    assert sorted(os.listdir(tmp_path)) == ["model.onnx", "model.onnx.data"]
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "store").mkdir()
    with temporary_model_store(tmp_path / "store"):
        yield


def test_weights_beside_a_graph_are_put_inside(path: Path) -> None:
    files = read_files(path)
    assert (files.folder, files.names) == (None, ())
    path.with_name("model.onnx.data").unlink()
    model = OnnxModel(compile_graph(files.content, SCHEMA), SCHEMA)
    np.testing.assert_allclose(model.score(ROWS), mlp_scores(ROWS), atol=1e-5)


def test_a_graph_without_such_weights_stays_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(mlp_onnx(5))
    assert read_files(tmp_path / "m.onnx").content == mlp_onnx(5)


@pytest.mark.parametrize("built", [False, True])
def test_weights_too_large_for_one_file_are_stored_beside_the_graph(path: Path, store: None, built: bool) -> None:
    files = read_files(path, most_in_one=100)
    assert files.paths == [path.with_name("model.onnx.data")]
    schema = SCHEMA.model_copy(update={"columns": ("p0", "p1", "p2", "u0", "u1")}) if built else SCHEMA
    graph = compile_graph(files.content, schema, folder=files.folder)
    tag, created = store_model(graph, schema, "big", weights=files.paths)
    assert created
    assert store_model(graph, schema, "big", weights=files.paths) == (tag, False)
    path.unlink()
    size = path.with_name("model.onnx.data").stat().st_size
    path.with_name("model.onnx.data").unlink()
    stored = find_model(tag)
    assert size_of(stored) == len(graph) + size
    expected = mlp_scores(ROWS[:, [2, 3, 4, 0, 1]] if built else ROWS)
    np.testing.assert_allclose(load_model(stored).score(ROWS), expected, atol=1e-5)


def test_other_weights_are_another_model(path: Path, store: None) -> None:
    files = read_files(path, most_in_one=100)
    first, _ = store_model(files.content, SCHEMA, "big", weights=files.paths)
    data = path.with_name("model.onnx.data")
    weights = np.frombuffer(data.read_bytes(), np.float32) * np.float32(0.5)
    data.write_bytes(weights.tobytes())
    second, created = store_model(files.content, SCHEMA, "big", weights=files.paths)
    assert created
    assert second != first


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "sub/weights", "..", ""])
def test_weights_outside_of_the_graphs_folder_are_refused(path: Path, location: str) -> None:
    graph = onnx.load_model(path, load_external_data=False)
    for tensor in graph.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = location
    path.write_bytes(graph.SerializeToString())
    (path.parent / "sub").mkdir()
    (path.parent / "sub" / "weights").write_bytes(b"\0" * 10_000)
    with pytest.raises(ModelRejected, match="outside of its folder"):
        read_files(path)


def test_a_link_in_place_of_weights_is_refused(path: Path) -> None:
    data = path.with_name("model.onnx.data")
    data.rename(path.with_name("elsewhere"))
    data.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(ModelRejected, match="are a link or no file"):
        read_files(path)


def test_weights_that_are_not_there_are_named(path: Path) -> None:
    path.with_name("model.onnx.data").unlink()
    with pytest.raises(ModelRejected, match=r"a file model\.onnx\.data, which is not beside it: No such file"):
        read_files(path)


def test_weights_cut_short_are_refused(path: Path) -> None:
    path.with_name("model.onnx.data").write_bytes(b"\0" * 8)
    with pytest.raises(ModelRejected):
        compile_graph(read_files(path).content, SCHEMA)


def test_weights_under_a_name_of_the_store_are_refused(path: Path, store: None) -> None:
    data = path.with_name("model.onnx.data")
    with pytest.raises(ModelNotStored, match="Rename them"):
        store_model(path.read_bytes(), SCHEMA, "big", weights=[data.rename(data.with_name("model.yaml"))])
