from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ranker.errors import ModelNotStored, ModelRejected, ModelUnusable
from ranker.scoring.model import OnnxModel
from ranker.scoring.registry import (
    find_model,
    is_split,
    load_model,
    parts_of,
    size_of,
    store_model,
)
from ranker.scoring.split.ensemble import Ensemble
from ranker.scoring.split.files import SplitChoice
from ranker.scoring.split.model import SplitModel
from ranker.scoring.split.note import NOT_TRIED, Note
from ranker.scoring.split.parts import Parts, Side
from tests.support.models import schema_of_width, temporary_model_store
from tests.support.splits import cut_mlp
from tests.support.tree_nodes import as_first, grow

SCHEMA = schema_of_width(5, 3, user_default=0.5)
CUT = cut_mlp(SCHEMA)
SPLIT = SplitChoice(Note(rows=10, difference=1e-7), CUT.parts)
WHOLE = SplitChoice(Note(whole_because="it gains nothing"))
ROWS = np.random.default_rng(0).random((7, 8), dtype=np.float32)


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[None]:
    with temporary_model_store(tmp_path):
        yield


def stored(split: SplitChoice | None = SPLIT, version: str | None = None) -> str:
    return store_model(CUT.whole, SCHEMA, "shop", version, split=split)[0]


def test_a_model_stored_in_parts_scores_by_its_parts() -> None:
    model = find_model(stored())
    loaded = load_model(model)
    assert is_split(model)
    assert parts_of(model) == CUT.parts
    assert (loaded.served_as, loaded.note) == ("in parts", SPLIT.note)
    np.testing.assert_array_equal(loaded.score(ROWS), SplitModel(CUT.parts, SCHEMA).score(ROWS))


@pytest.mark.parametrize(("split", "note"), [(WHOLE, WHOLE.note), (None, NOT_TRIED)])
def test_a_model_stored_whole_or_before_there_were_parts_scores_whole(split: SplitChoice | None, note: Note) -> None:
    model = find_model(stored(split))
    loaded = load_model(model)
    assert not is_split(model)
    assert (parts_of(model), loaded.split, loaded.note, loaded.served_as) == (None, None, note, "whole")
    np.testing.assert_array_equal(loaded.score(ROWS), OnnxModel(CUT.whole, SCHEMA).score(ROWS))


def test_stored_trees_score_as_those_that_were_stored() -> None:
    trees = Ensemble.from_node(
        as_first([grow(np.random.default_rng(0), 6, 8, ("LEQ",), ROWS[0], [[0]])], "target") | {"n_targets": 1},
        "TreeEnsembleRegressor",
        [(Side.REQUEST, i) for i in range(5)] + [(Side.PRODUCT, i) for i in range(3)],
    )
    parts = Parts(request=None, product=None, pair=None, trees=trees)
    of_trees = find_model(store_model(CUT.whole, SCHEMA, "forest", split=SplitChoice(Note(), parts))[0])
    np.testing.assert_array_equal(load_model(of_trees).score(ROWS), SplitModel(parts, SCHEMA).score(ROWS))


def test_what_scores_otherwise_has_another_tag_and_the_same_has_the_same() -> None:
    assert stored() == stored(SplitChoice(Note(rows=99), CUT.parts))  # measured again
    assert stored(WHOLE) == stored(None)
    assert stored() != stored(WHOLE)


def test_a_version_that_holds_the_whole_is_not_made_parts() -> None:
    stored(WHOLE, "v1")
    with pytest.raises(ModelNotStored, match="the tag holds another model"):
        stored(SPLIT, "v1")
    assert load_model(find_model("shop:v1")).split is None


def test_the_whole_graph_is_opened_when_it_is_asked_for() -> None:
    model = find_model(stored())
    assert load_model(model).whole.output.name == "scores"
    Path(model.path_of("model.onnx")).unlink()
    loaded = load_model(model)
    assert len(loaded.score(ROWS)) == 7
    with pytest.raises(ModelRejected):
        _ = loaded.whole


def test_the_size_of_a_model_counts_its_parts() -> None:
    sizes = [len(content) for content in (CUT.whole, CUT.parts.request, CUT.parts.product, CUT.parts.pair) if content]
    assert size_of(find_model(stored())) == sum(sizes)
    assert size_of(find_model(stored(WHOLE))) == sizes[0]


@pytest.mark.parametrize("name", ["request.onnx", "product.onnx", "pair.onnx", "split.json"])
def test_a_damaged_part_is_refused_and_never_served_whole_instead(name: str) -> None:
    model = find_model(stored())
    Path(model.path_of(f"split/{name}")).write_bytes(b"{")
    with pytest.raises(ModelUnusable, match=r"shop:.* cannot be served: .*Import it again\."):
        load_model(model)


def test_parts_that_do_not_fit_the_schema_are_refused() -> None:
    other = cut_mlp(schema_of_width(4, 4)).parts
    with pytest.raises(ModelUnusable, match=r"Import it again\."):
        load_model(find_model(stored(SplitChoice(Note(), other))))


def test_weights_may_not_lie_where_the_parts_do(tmp_path: Path) -> None:
    weights = tmp_path / "weights" / "split"
    weights.parent.mkdir()
    weights.write_bytes(b"")
    with pytest.raises(ModelNotStored, match="its weights lie in split"):
        store_model(CUT.whole, SCHEMA, "shop", weights=[weights])
