from dataclasses import replace

import numpy as np
import pytest
from onnx import helper, load_model_from_string, numpy_helper

from ranker.errors import ModelFailed
from ranker.importing.splitting.proving.parity import TOLERANCE, compare, compare_list, find_steady
from ranker.importing.splitting.proving.probes import Block, probe, request_rows
from ranker.importing.splitting.split import Split, split
from ranker.scoring.model import OnnxModel
from ranker.scoring.split.model import SplitModel
from ranker.vectors.rows import Matrix
from tests.support.models import onnx_bytes, schema_of_width, tensor
from tests.support.splits import cut_mlp

SCHEMA = schema_of_width(5, 3, user_default=0.5, product_default=float("nan"))
CUT = cut_mlp(SCHEMA)
WHOLE = OnnxModel(CUT.whole, SCHEMA)
PARTS = SplitModel(CUT.parts, SCHEMA)


def scores(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_the_parts_of_a_graph_score_as_it_does() -> None:
    found = compare(WHOLE.score, PARTS, probe(WHOLE.score, SCHEMA))
    assert found.failure == ""
    assert 0 < found.difference < TOLERANCE
    assert found.rows > 500


def test_parts_that_are_off_by_a_thousandth_are_found_out() -> None:
    graph = load_model_from_string(CUT.parts.pair)
    (bias,) = (constant for constant in graph.graph.initializer if constant.name == "b2")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(1e-3), "b2"))
    off = SplitModel(replace(CUT.parts, pair=graph.SerializeToString()), SCHEMA)
    found = compare(WHOLE.score, off, probe(WHOLE.score, SCHEMA))
    assert found.failure.startswith("for rows near the defaults, the whole graph gives ")
    assert found.difference > TOLERANCE


def test_parts_of_another_model_are_found_out_in_rounds_of_several_requests() -> None:
    class Mixed(SplitModel):
        """Scores whole rows well, and gives every row of a round to the first request."""

        def score_parts(self, requests: Matrix, *rest: object) -> np.ndarray:  # type: ignore[override]
            first = np.repeat(requests[:1], len(requests), axis=0)
            return PARTS.score_parts(first, *rest)  # type: ignore[arg-type]

        def score(self, matrix: Matrix) -> np.ndarray:
            return PARTS.score(matrix)

    found = compare(WHOLE.score, Mixed(CUT.parts, SCHEMA), probe(WHOLE.score, SCHEMA))
    assert "the whole graph gives" in found.failure


def test_a_difference_is_a_share_of_the_score_or_of_the_lists_range() -> None:
    assert compare_list(scores(1000.0, 1000.0), scores(1000.005, 1000.005))[0] == pytest.approx(5e-6, rel=0.05)
    assert compare_list(scores(0.0, 1.0), scores(2e-6, 1.0)) == (pytest.approx(2e-6, rel=0.01), "")
    assert compare_list(scores(0.0, 1.0), scores(2e-5, 1.0))[1].startswith(
        "the whole graph gives 0 and its parts 2e-05"
    )
    assert compare_list(scores(0.0, 0.0), scores(0.0, 0.0)) == (0.0, "")
    assert compare_list(scores(0.0, 0.0), scores(0.0, 1e-9))[1] != ""


def test_scores_at_the_end_of_a_sigmoid_may_differ_by_its_last_step() -> None:
    ends = scores(8.940697e-08, 0.0), scores(0.0, 0.0)
    assert compare_list(*ends)[1] != ""
    assert compare_list(*ends, 2.4e-7)[1] == ""
    assert compare_list(scores(0.3, 0.7), scores(0.3, 0.70001), 2.4e-7)[1] != ""


def sigmoid(logit: float) -> tuple[bytes, OnnxModel]:
    """A layer over all columns, which gives about this, and a sigmoid."""
    weights = (np.random.default_rng(0).normal(size=(8, 1)) / 10).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["features", "w"], ["layer"]),
        helper.make_node("Add", ["layer", "b"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["scores"]),
    ]
    constants = {"w": weights, "b": np.float32([logit])}
    content = onnx_bytes(nodes, [tensor("features", ["n", 8])], [tensor("scores", ["n", 1])], constants)
    return content, OnnxModel(content, SCHEMA)


def parts_of(content: bytes, model: OnnxModel) -> Split:
    made = split(content, model.inputs, model.output, SCHEMA)
    assert isinstance(made, Split)
    return made


def test_saturated_model_scores_in_parts_as_the_whole_does() -> None:
    content, whole = sigmoid(-16.5)
    made = parts_of(content, whole)
    assert made.ends
    parts, blocks = SplitModel(made.parts, SCHEMA), probe(whole.score, SCHEMA)
    assert compare(whole.score, parts, blocks).failure != ""
    assert compare(whole.score, parts, blocks, ends=True).failure == ""


@pytest.mark.parametrize("logit", [0.0, -8.0])
def test_parts_of_another_sigmoid_are_found_out(logit: float) -> None:
    _, whole = sigmoid(logit)
    content, model = sigmoid(logit + 1e-3)
    off = SplitModel(parts_of(content, model).parts, SCHEMA)
    assert "the whole graph gives" in compare(whole.score, off, probe(whole.score, SCHEMA), ends=True).failure


def test_rows_that_the_whole_graph_scores_by_their_place_in_memory_are_left_out() -> None:
    nodes = [
        helper.make_node("ReduceMax", ["features"], ["largest"], axes=[1]),
        helper.make_node("Gather", ["features", "ends"], ["whole"], axis=1),
        helper.make_node("MatMul", ["whole", "w"], ["layer"]),
        helper.make_node("Add", ["largest", "layer"], ["scores"]),
    ]
    constants = {"w": np.float32([[0.5], [-0.3]]), "ends": np.array([0, 6])}
    content = onnx_bytes(nodes, [tensor("features", ["n", 7])], [tensor("scores", ["n", 1])], constants)
    schema = schema_of_width(4, 3)
    whole = OnnxModel(content, schema)
    made = split(content, whole.inputs, whole.output, schema)
    assert isinstance(made, Split)
    parts = SplitModel(made.parts, schema)
    random = np.random.default_rng(1)
    rows = random.normal(size=(200, 7)).astype(np.float32)
    rows[100:, 1:6][random.random((100, 5)) < 0.2] = np.nan
    steady = find_steady(whole.score, rows)
    assert steady[:100].all()
    assert 0 < np.count_nonzero(~steady) < 100
    found = [compare(whole.score, parts, [Block("with NaN", rows[first:])]) for first in range(9)]
    assert {one.failure for one in found} == {""}
    assert sum(one.unsteady for one in found) > 0


def test_what_is_no_number_must_be_none_in_parts_either() -> None:
    nan, inf = float("nan"), float("inf")
    assert compare_list(scores(nan, inf, -inf, 1.0), scores(nan, inf, -inf, 1.0)) == (0.0, "")
    for one, other in ((nan, 1.0), (1.0, nan), (inf, -inf), (inf, 1.0), (nan, inf)):
        assert compare_list(scores(one, 0.5), scores(other, 0.5))[1].startswith("the whole graph gives")


def test_only_scores_within_the_tolerance_may_change_places() -> None:
    near = np.float32(1.0), np.float32(1.0 + 4e-6)
    assert compare_list(scores(*near, 0.0), scores(*near[::-1], 0.0))[1] == ""
    apart = scores(1.0, 1.0 + 1.5e-5, 0.0), scores(1.0 + 9e-6, 1.0 + 7e-6, 0.0)
    assert "come out in another order" in compare_list(*apart)[1]


def test_rows_that_the_whole_graph_cannot_score_are_left_out() -> None:
    refused = np.full((2, 8), 3.0, dtype=np.float32)

    def score(matrix: Matrix) -> np.ndarray:
        if (matrix == 3.0).all(axis=1).any():
            raise ModelFailed(len(matrix), "an id beyond the table")
        return WHOLE.score(matrix)

    given = [Block("of --check", np.concatenate((refused, np.zeros((3, 8), np.float32))))]
    blocks = probe(score, SCHEMA, given)
    assert [len(block.rows) for block in blocks if block.kind == "of --check"] == [3]
    assert (request_rows(blocks, given, 100) == 0).all()
    assert request_rows(blocks, [], 100).shape == (100, 8)


def test_probes_have_defaults_nan_and_infinities() -> None:
    blocks = {block.kind: block.rows for block in probe(WHOLE.score, SCHEMA)}
    np.testing.assert_array_equal(blocks["near the defaults"][0], SCHEMA.defaults)
    assert np.isnan(blocks["with NaN"]).any()
    assert np.isinf(blocks["with infinities"]).any()
    assert np.abs(blocks["up to 1,000,000 from the defaults"]).max() > 1e5
