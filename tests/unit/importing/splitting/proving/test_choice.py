import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import load_model_from_string, numpy_helper

from ranker.errors import ModelFailed, ModelRejected
from ranker.importing.splitting.proving import choice
from ranker.importing.splitting.proving.choice import choose_split
from ranker.importing.splitting.proving.probes import Block
from ranker.scoring.model import OnnxModel
from ranker.scoring.split.model import SplitModel
from ranker.vectors.schema import FeatureSchema
from tests.support.models import endless, mlp_onnx, schema_of_width

WIDE = schema_of_width(600, 40)
GRAPH = mlp_onnx(640, 256)


def test_a_wide_first_layer_is_computed_in_parts() -> None:
    found = choose_split(GRAPH, WIDE)
    assert found.parts is not None, found.note.whole_because
    assert found.note.whole_because == ""
    assert found.note.difference is not None
    assert found.note.difference <= 1e-5
    assert found.note.gain is not None
    assert found.note.gain.split_us < 0.9 * found.note.gain.whole_us
    assert 0 < found.note.gain.round_split_us < found.note.gain.round_whole_us
    assert found.note.gain.product_bytes == 4 * 256
    assert found.note.gain.products == 100
    assert "Relu" in {kept.operator for kept in found.note.kept}
    rows = np.random.default_rng(0).random((20, 640), dtype=np.float32)
    np.testing.assert_allclose(
        SplitModel(found.parts, WIDE).score(rows), OnnxModel(GRAPH, WIDE).score(rows), rtol=1e-5, atol=1e-5
    )


def test_the_same_graph_is_split_into_the_same_bytes() -> None:
    assert choose_split(GRAPH, WIDE).parts == choose_split(GRAPH, WIDE).parts


def test_a_graph_that_gains_less_than_a_tenth_stays_whole_and_says_so() -> None:
    found = choose_split(mlp_onnx(7, 4), schema_of_width(3, 4))
    assert found.parts is None
    assert found.note.whole_because.startswith("in parts a request would take ")
    assert found.note.gain is not None


def test_a_graph_whose_weights_lie_beside_it_stays_whole(tmp_path: Path) -> None:
    assert choose_split(GRAPH, WIDE, folder=tmp_path).note.whole_because == "its weights lie in files beside it"


def test_rows_that_go_together_stay_whole() -> None:
    together = FeatureSchema.from_mapping(schema_of_width(3, 4).to_metadata() | {"rows": "together"})
    found = choose_split(compiled(mlp_onnx(7), together), together)
    assert found.parts is None
    assert "rows: together" in found.note.whole_because


def compiled(content: bytes, schema: FeatureSchema) -> bytes:
    from ranker.importing.compile import compile_graph

    return compile_graph(content, schema)


def test_parts_that_score_otherwise_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    right = choice.split

    def wrong(*arguments: Any) -> Any:
        found: Any = right(*arguments)
        graph = load_model_from_string(found.parts.pair)
        for constant in graph.graph.initializer:
            value = numpy_helper.to_array(constant)
            if value.dtype == np.float32:
                constant.CopyFrom(numpy_helper.from_array(value * np.float32(1.001), constant.name))
        return replace(found, parts=replace(found.parts, pair=graph.SerializeToString()))

    monkeypatch.setattr(choice, "split", wrong)
    found = choose_split(GRAPH, WIDE)
    assert found.parts is None
    assert found.note.whole_because.startswith("its parts score otherwise: for rows near the defaults")


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), ModelFailed(3, "no id"), ModelRejected("No.")])
def test_whatever_goes_wrong_with_the_parts_never_stops_an_import(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(choice, "split", fail)
    found = choose_split(GRAPH, WIDE)
    assert found.parts is None
    assert found.note.whole_because.startswith(("its parts could not be tried: ", "it could not be split: "))


def test_without_the_packages_that_split_the_graph_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    assert "'bento-ranker[import]', which is not installed" in choose_split(GRAPH, WIDE).note.whole_because


def test_rows_that_are_given_are_compared_and_measured() -> None:
    alone = choose_split(GRAPH, WIDE)
    given = [Block("of --check", np.random.default_rng(1).random((50, 640), dtype=np.float32))]
    assert choose_split(GRAPH, WIDE, given).note.rows == alone.note.rows + 50 + 3 * 50


def test_a_graph_that_never_ends_is_refused_in_time() -> None:
    with pytest.raises(ModelRejected, match="did not end within"):
        choose_split(endless(7), schema_of_width(3, 4), limit_s=1.0)
