from dataclasses import replace

import numpy as np
import pytest
from onnx import load_model_from_string, numpy_helper

from ranker.errors import ModelFailed
from ranker.scoring.model import OnnxModel
from ranker.scoring.split.model import SplitModel
from ranker.splitting.proving.parity import TOLERANCE, compare, compare_list
from ranker.splitting.proving.probes import Block, probe, request_rows
from ranker.vectors.rows import Matrix
from tests.support.models import schema_of_width
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
