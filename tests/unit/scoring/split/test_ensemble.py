"""Trees asked side by side give what ONNX Runtime gives for them whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranker.errors import ModelRejected, WrongShape
from ranker.scoring.split.ensemble import Ensemble
from ranker.scoring.split.parts import Side
from ranker.scoring.split.trees.attributes import NotSplittable
from tests.support.tree_nodes import (
    VALUES,
    Node,
    Tree,
    as_fifth,
    as_first,
    ask_onnx_runtime,
    grow,
    node_attributes,
    tree_onnx,
)

WIDTH = 9
SIDES = (Side.REQUEST, Side.PRODUCT, Side.PAIR)
COLUMNS = [(SIDES[i % 3], i // 3) for i in range(WIDTH)]
TRANSFORMS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")
EXP = {"rtol": 2e-6, "atol": 2e-7}
"""Where the last step is an exponential, which two libraries round differently."""


def evaluate(ensemble: Ensemble, x: np.ndarray) -> np.ndarray:
    """What the ensemble gives for whole rows, whose columns are of all three sides."""
    parts = {side: np.ascontiguousarray(x[:, i::3]) for i, side in enumerate(SIDES)}
    request, product = (ensemble.masks(side, parts[side]) for side in (Side.REQUEST, Side.PRODUCT))
    return ensemble.evaluate(request, product, np.arange(len(x)), parts[Side.PAIR])


def compare(attributes: dict[str, Any], op_type: str, x: np.ndarray, double: bool = False) -> None:
    """Expect what ONNX Runtime gives: bit for bit, but for exponentials."""
    expected = ask_onnx_runtime(tree_onnx(attributes, op_type, WIDTH, double), x)
    ensemble = Ensemble.from_node(attributes, op_type, COLUMNS)
    exact = attributes.get("post_transform", "NONE") == "NONE"
    answer = evaluate(ensemble, x)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, expected, **({"rtol": 0, "atol": 0} if exact else EXP))


def draw_rows(rng: np.random.Generator, values: Sequence[float] | np.ndarray, others: int = 9) -> np.ndarray:
    pool = np.concatenate([np.asarray(values, np.float32), rng.normal(size=others).astype(np.float32)])
    return rng.choice(pool, size=(30, WIDTH)).astype(np.float32)


def forest(rng: np.random.Generator, modes: Sequence[str], **options: Any) -> list[Tree]:
    options = {"voters": [[0]], "values": VALUES} | options
    sizes = rng.choice([1, 2, 5, 31, 63, 64, 65, 200], size=1 + int(rng.integers(5)))
    return [grow(rng, int(size), WIDTH, modes, **options) for size in sizes]


@given(
    seed=st.integers(0, 2**32),
    modes=st.sampled_from([("LEQ",), ("LT",), ("GTE",), ("GT",), ("NEQ",), ("LEQ", "LT", "GTE", "GT", "NEQ")]),
    targets=st.integers(1, 3),
    aggregate=st.sampled_from(["SUM", "AVERAGE", "MIN", "MAX"]),
    transform=st.sampled_from(TRANSFORMS[:-1]),
    based=st.booleans(),
)
@settings(max_examples=60)
def test_regressor_gives_what_onnx_runtime_gives(
    seed: int, modes: tuple[str, ...], targets: int, aggregate: str, transform: str, based: bool
) -> None:
    rng = np.random.default_rng(seed)
    everyone = [list(range(targets))]
    voters = everyone if based else [*everyone, [0], [targets - 1, 0], [targets - 1] * 2]
    trees = forest(rng, modes, voters=voters)
    attributes = as_first(trees, "target") | {
        "n_targets": targets,
        "aggregate_function": aggregate,
        "post_transform": transform,
        "base_values": rng.normal(size=targets).astype(np.float32).tolist() if based else [],
    }
    compare(attributes, "TreeEnsembleRegressor", draw_rows(rng, VALUES))


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("column", [0, 1, None], ids=["first", "second", "each"])
@pytest.mark.parametrize("based", ["none", "one", "all"])
@pytest.mark.parametrize("positive", [True, False], ids=["positive", "mixed"])
@given(seed=st.integers(0, 2**32), transform=st.sampled_from(TRANSFORMS[:-1]))
@settings(max_examples=4)
def test_classifier_gives_the_scores_that_onnx_runtime_gives(
    classes: int, column: int | None, based: str, positive: bool, seed: int, transform: str
) -> None:
    rng = np.random.default_rng(seed)
    voters = [list(range(classes)) if column is None else [column]]
    bases = {"none": 0, "one": 1 if classes == 2 else 0, "all": classes}
    trees = forest(rng, ("LEQ", "GT"), voters=voters, positive=positive)
    attributes = as_first(trees, "class") | {
        "classlabels_int64s": list(range(classes)),
        "post_transform": transform,
        "base_values": rng.normal(size=bases[based]).astype(np.float32).tolist(),
    }
    compare(attributes, "TreeEnsembleClassifier", draw_rows(rng, VALUES))


def test_classifier_whose_trees_vote_for_one_class_each_is_split() -> None:
    rng = np.random.default_rng(5)
    trees = [grow(rng, 8, WIDTH, ("LEQ",), VALUES, [[i % 3]]) for i in range(9)]
    attributes = as_first(trees, "class") | {"classlabels_strings": ["a", "b", "c"], "post_transform": "SOFTMAX"}
    compare(attributes, "TreeEnsembleClassifier", draw_rows(rng, VALUES))


@given(
    seed=st.integers(0, 2**32),
    modes=st.sampled_from([("MEMBER",), ("EQ",), ("MEMBER", "LEQ"), ("EQ", "NEQ", "MEMBER", "LEQ", "GT")]),
    targets=st.integers(1, 3),
    aggregate=st.integers(0, 3),
    double=st.booleans(),
)
@settings(max_examples=60)
def test_members_and_leaves_of_the_newest_operator_are_those_of_onnx_runtime(
    seed: int, modes: tuple[str, ...], targets: int, aggregate: int, double: bool
) -> None:
    rng = np.random.default_rng(seed)
    categories = np.arange(-2, 70, dtype=np.float32)  # whole: ONNX Runtime's sets of categories round others down
    trees = forest(rng, modes, values=categories, voters=[[target] for target in range(targets)])
    attributes = as_fifth(trees, targets, np.float64 if double else np.float32) | {"aggregate_function": aggregate}
    x = rng.choice(np.append(categories, np.float32(np.nan)), size=(30, WIDTH)).astype(np.float32)
    compare(attributes, "TreeEnsemble", x, double)


@given(seed=st.integers(0, 2**32), classifier=st.booleans())
@settings(max_examples=40)
def test_float64_thresholds_divide_float32_values_as_onnx_runtime_divides_them(seed: int, classifier: bool) -> None:
    rng = np.random.default_rng(seed)
    near = rng.normal(size=5).astype(np.float32)
    above = near.astype(np.float64) * (1 + 1e-12)
    values = np.concatenate([near, above, near - 1e-12, [1e300, -1e300, np.inf, -np.inf, 1e-60, -1e-60]])
    prefix = "class" if classifier else "target"
    trees = forest(rng, ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ"), values=values)
    attributes = as_first(trees, prefix, double=True)
    attributes |= {"classlabels_int64s": [0, 1]} if classifier else {"n_targets": 1}
    x = rng.choice(np.concatenate([near, VALUES]), size=(30, WIDTH)).astype(np.float32)
    compare(attributes, f"TreeEnsemble{'Classifier' if classifier else 'Regressor'}", x, double=True)


def test_probit_is_that_of_onnx_runtime() -> None:
    rng = np.random.default_rng(2)
    trees = [grow(rng, 60, WIDTH, ("LEQ",), VALUES, [[0]], scale=0.2, positive=True)]
    attributes = as_first(trees, "target") | {"n_targets": 1, "post_transform": "PROBIT"}
    compare(attributes, "TreeEnsembleRegressor", draw_rows(rng, VALUES))


def test_wide_tree_costs_the_narrow_ones_no_words() -> None:
    rng = np.random.default_rng(1)
    trees = [grow(rng, leaves, WIDTH, ("LEQ",), VALUES, [[0]]) for leaves in (1, 200, 63, 64, 65)]
    ensemble = Ensemble.from_node(as_first(trees, "target") | {"n_targets": 1}, "TreeEnsembleRegressor", COLUMNS)
    assert ensemble.words == 1 + 4 + 1 + 1 + 2


def test_masks_are_taken_from_wider_rows_as_they_lie() -> None:
    ensemble, x = some_ensemble(), draw_rows(np.random.default_rng(8), VALUES)
    parts = {side: np.ascontiguousarray(x[:, i::3]) for i, side in enumerate(SIDES)}
    product = ensemble.masks(Side.PRODUCT, parts[Side.PRODUCT])
    rows = np.full((len(x), 6 + 2 * ensemble.words + 4), np.nan, np.float32)
    rows[:, 6:-4].view(np.uint64)[:] = product
    rows.flags.writeable = False  # the near cache's rows are read by several requests
    view = rows[:, 6:-4].view(np.uint64)
    assert view.base is not None
    row_request = np.repeat([0, 1], len(x) // 2)
    request = ensemble.masks(Side.REQUEST, parts[Side.REQUEST][:2])
    answer = ensemble.evaluate(request, view, row_request, parts[Side.PAIR])
    np.testing.assert_array_equal(answer, ensemble.evaluate(request, product, row_request, parts[Side.PAIR]))
    whole = x.copy()
    whole[:, 0::3] = x[row_request, 0::3]
    np.testing.assert_array_equal(answer, evaluate(ensemble, whole))


def some_ensemble() -> Ensemble:
    rng = np.random.default_rng(7)
    trees = [grow(rng, leaves, WIDTH, ("LEQ", "GT", "EQ", "NEQ"), VALUES, [[0]]) for leaves in (1, 30, 64, 150)]
    return Ensemble.from_node(as_first(trees, "target") | {"n_targets": 1}, "TreeEnsembleRegressor", COLUMNS)


@given(seed=st.integers(0, 2**32), n=st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_masks_of_many_rows_are_those_of_each_alone(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    trees = as_first(forest(rng, ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ")), "target") | {"n_targets": 1}
    ensemble = Ensemble.from_node(trees, "TreeEnsembleRegressor", COLUMNS)
    for side in SIDES:
        part = rng.choice(np.asarray(VALUES, np.float32), size=(n, WIDTH))
        alone = [ensemble.masks(side, row[np.newaxis]) for row in part]
        np.testing.assert_array_equal(ensemble.masks(side, part), np.concatenate(alone))


def test_no_rows_have_no_scores() -> None:
    assert evaluate(some_ensemble(), np.empty((0, WIDTH), np.float32)).shape == (0, 1)


def test_masks_that_no_condition_made_lead_to_no_leaf() -> None:
    ensemble = some_ensemble()
    nothing = np.zeros((3, ensemble.words), np.uint64)
    answer = ensemble.evaluate(nothing, nothing, np.zeros(3, np.int64), np.zeros((3, 3), np.float32))
    assert np.isfinite(answer).all()


def test_rows_of_a_request_that_is_not_there_are_refused() -> None:
    ensemble = some_ensemble()
    masks = np.zeros((3, ensemble.words), np.uint64)
    for wrong in ([0, 1, 3], [0, -1, 0]):
        with pytest.raises(IndexError, match=r"^A row is of a request that is not there\.$"):
            ensemble.evaluate(masks, masks, np.array(wrong, np.int64), np.zeros((3, 3), np.float32))


def test_parts_and_masks_that_do_not_fit_are_refused() -> None:
    ensemble = some_ensemble()
    masks = np.zeros((3, ensemble.words), np.uint64)
    rows = np.zeros(3, np.int64)
    with pytest.raises(WrongShape, match="product part"):
        ensemble.masks(Side.PRODUCT, np.zeros((3, 1), np.float32))
    with pytest.raises(WrongShape, match=r"^The request's masks"):
        ensemble.evaluate(masks[:, 1:], masks, rows, np.zeros((3, 3), np.float32))
    with pytest.raises(WrongShape, match=r"^The products' masks"):
        ensemble.evaluate(masks, masks[:, 1:], rows, np.zeros((3, 3), np.float32))
    for pair, shape in ((None, r"\(\)"), (np.zeros((2, 3), np.float32), r"\(2, 3\)")):
        with pytest.raises(WrongShape, match=rf"pair's columns .*{shape}"):
            ensemble.evaluate(masks, masks, rows, pair)
    with pytest.raises(WrongShape, match="rows' requests"):
        ensemble.evaluate(masks, masks, rows[1:], np.zeros((3, 3), np.float32))


def test_stored_ensemble_is_the_same_and_its_bytes_are(tmp_path: Path) -> None:
    ensemble = some_ensemble()
    x = draw_rows(np.random.default_rng(3), VALUES)
    for name in ("a", "b"):
        ensemble.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    np.testing.assert_array_equal(evaluate(Ensemble.load(tmp_path / "a"), x), evaluate(ensemble, x))


def of_trees(sizes: Sequence[int], voters: Sequence[Sequence[int]] = ((0,),), **more: Any) -> Ensemble:
    """Return an ensemble of trees of so many leaves."""
    rng = np.random.default_rng(11)
    trees = [grow(rng, size, WIDTH, ("LEQ", "GT"), VALUES, voters) for size in sizes]
    classes = "classlabels_int64s" in more
    attributes = as_first(trees, "class" if classes else "target") | ({} if classes else {"n_targets": 1}) | more
    return Ensemble.from_node(attributes, f"TreeEnsemble{'Classifier' if classes else 'Regressor'}", COLUMNS)


TWO = {"classlabels_int64s": [0, 1]}


@pytest.mark.parametrize(
    ("sizes", "voters", "more"),
    [
        ([30, 1], [[0]], {}),
        ([1, 64], [[0]], {}),
        ([20, 30], [[0]], {"aggregate_function": "AVERAGE"}),
        ([20, 30], [[0]], {"aggregate_function": "MAX"}),
        ([20, 30], [[0]], TWO),
        ([20, 30], [[1]], TWO | {"post_transform": "LOGISTIC"}),
        ([20, 30], [[0, 1, 2]], {"n_targets": 3}),
    ],
    ids=["a last tree of a leaf", "of a word", "average", "largest", "a class", "the second class", "targets"],
)
def test_what_was_stored_gives_the_same_scores(
    sizes: list[int], voters: list[list[int]], more: dict[str, Any], tmp_path: Path
) -> None:
    ensemble = of_trees(sizes, voters, **more)
    ensemble.save(tmp_path / "trees")
    x = draw_rows(np.random.default_rng(3), VALUES)
    np.testing.assert_array_equal(evaluate(Ensemble.load(tmp_path / "trees"), x), evaluate(ensemble, x))


def with_leaf_of_no_tree(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Let the second tree begin where the third does."""
    leaf = arrays["tree_leaf"].copy()
    leaf[1] = leaf[2]
    return {"tree_leaf": leaf}


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: {"tree_leaf": arrays["tree_leaf"][:0], "tree_word": arrays["tree_word"][:1]},
        lambda arrays: {
            "base": arrays["base"][:0],
            "voted": arrays["voted"][:0],
            "vote_start": arrays["vote_start"] * 0,
            "vote_target": arrays["vote_target"][:0],
            "vote_weight": arrays["vote_weight"][:0],
        },
        with_leaf_of_no_tree,
        lambda arrays: {"tree_leaf": np.array([0, 1, 31, 96])},
        lambda arrays: {"vote_target": arrays["vote_target"] + 1},
        lambda arrays: {"header": np.array([1, 1, *arrays["header"][2:]])},
    ],
    ids=["no trees", "no targets", "a tree without leaves", "65 leaves of a word", "a second target", "a rule for two"],
)
def test_trees_that_do_not_fit_one_another_are_refused(
    change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], tmp_path: Path
) -> None:
    arrays = stored_arrays(tmp_path / "good")
    np.savez(tmp_path / "bad.npz", **arrays | change(arrays))
    with pytest.raises(ModelRejected, match=r"\(its trees do not fit one another\)"):
        Ensemble.load(tmp_path / "bad.npz")


def stored_arrays(path: Path) -> dict[str, np.ndarray]:
    some_ensemble().save(path)
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


ARRAYS = ["header", "base", "voted", "tree_word", "tree_leaf", "vote_start", "vote_target", "vote_weight"] + [
    f"product.{name}"
    for name in (
        "group_column",
        "group_kind",
        "group_start",
        "threshold",
        "by_nan",
        "word",
        "keep",
        "member_start",
        "member",
    )
]


@pytest.mark.parametrize("name", ARRAYS)
def test_array_that_is_cut_or_points_outside_is_refused(name: str, tmp_path: Path) -> None:
    arrays = stored_arrays(tmp_path / "good")
    array = arrays[name]
    wrong = [array[:-1], array[None], array.astype(bool if array.dtype != bool else np.int64)]
    beyond = {"i": (-1, 1 << 40), "u": (1 << 31,) if name.endswith("word") else ()}.get(array.dtype.kind, ())
    wrong += [np.where(np.arange(len(array)) == len(array) - 1, bad, array).astype(array.dtype) for bad in beyond]
    for i, bad in enumerate(wrong):
        np.savez(tmp_path / f"{i}.npz", **arrays | {name: bad})
        with pytest.raises(ModelRejected, match="trees"):
            Ensemble.load(tmp_path / f"{i}.npz")


def test_threshold_that_is_no_number_is_refused(tmp_path: Path) -> None:
    arrays = stored_arrays(tmp_path / "good")
    arrays["product.threshold"][0] = np.nan
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ModelRejected, match="conditions do not fit"):
        Ensemble.load(tmp_path / "bad.npz")


def test_file_that_holds_no_trees_is_refused(tmp_path: Path) -> None:
    arrays = stored_arrays(tmp_path / "good")
    (tmp_path / "text").write_text("no archive")
    (tmp_path / "half").write_bytes((tmp_path / "good").read_bytes()[:1000])
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    np.savez(tmp_path / "pickled.npz", **arrays | {"voted": np.array([{}], object)})
    np.savez(tmp_path / "later.npz", **arrays | {"header": np.array([99, 0, 1, 0])})
    without = {name: array for name, array in arrays.items() if name != "tree_leaf"}
    np.savez(tmp_path / "without.npz", **without)
    for name in ("text", "half", "small.npz", "pickled.npz", "later.npz", "without.npz", "absent"):
        with pytest.raises(ModelRejected, match="import the model again"):
            Ensemble.load(tmp_path / name)


def tree(*nodes: Node) -> dict[str, Any]:
    return as_first([list(nodes)], "target") | {"n_targets": 1}


STUMP = (Node(mode="LEQ", value=0.5, true=1, false=2), Node([(0, 1.0)]), Node([(0, 2.0)]))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        (tree(*STUMP) | {"nodes_truenodeids": [7, 0, 0]}, "node 7 of tree 0 is not there"),
        (tree(*STUMP) | {"nodes_nodeids": [0, 1, 1]}, "twice"),
        (tree(*STUMP) | {"nodes_values": [1.0]}, "nodes_values has 1 entries where 3 are needed"),
        (tree(*STUMP) | {"nodes_featureids": [99, 0, 0]}, "column 99 of 9"),
        (tree(*STUMP) | {"nodes_truenodeids": [0, 0, 0]}, "leads back to itself"),
        (tree(*STUMP) | {"nodes_treeids": [0, 1, 0], "nodes_truenodeids": [2, 0, 0]}, "one after another"),
        (tree(*STUMP) | {"nodes_modes": ["BRANCH_LIKE", "LEAF", "LEAF"]}, "'LIKE' is not known"),
        (tree(*STUMP) | {"post_transform": "CUBE"}, "'CUBE' is not known"),
        (tree(*STUMP) | {"n_targets": 0}, "0 targets"),
        (tree(*STUMP) | {"target_ids": [0, 1]}, "a target that is not there"),
        (tree(*STUMP) | {"base_values": [1.0, 2.0]}, "2 base values for 1 targets"),
        (tree(*STUMP) | {"target_weights": [np.nan, 1.0], "aggregate_function": "MIN"}, "not numbers"),
        (tree(STUMP[0], STUMP[1], Node()), "gives nothing"),
        ({"n_targets": 1}, "no tree"),
    ],
)
def test_node_that_is_not_understood_stays_whole(attributes: dict[str, Any], reason: str) -> None:
    with pytest.raises(NotSplittable, match=reason):
        Ensemble.from_node(attributes, "TreeEnsembleRegressor", COLUMNS)


def test_classes_that_only_some_leaves_vote_for_stay_whole() -> None:
    nodes = [STUMP[0], Node([(0, 1.0)]), Node([(1, 2.0)])]
    attributes = as_first([nodes], "class") | {"classlabels_int64s": [0, 1]}
    with pytest.raises(NotSplittable, match="class of two"):
        Ensemble.from_node(attributes, "TreeEnsembleClassifier", COLUMNS)
    with pytest.raises(NotSplittable, match="no tree ensemble"):
        Ensemble.from_node({}, "SVMRegressor", COLUMNS)


@pytest.mark.parametrize("kind", ["lightgbm", "categories", "classifier", "multiclass", "forest", "boosting", "tree"])
def test_real_export_gives_what_onnx_runtime_gives(kind: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, WIDTH)).astype(np.float32)
    x[:, 3] = rng.integers(0, 12, len(x))
    y = x[:, 0] * x[:, 1] + np.sin(x[:, 3]) + 0.1 * rng.normal(size=len(x))
    content = export(kind, x, y)
    if kind in ("lightgbm", "classifier"):
        x[rng.random(x.shape) < 0.1] = np.nan
    attributes, op_type = node_attributes(content)
    ensemble = Ensemble.from_node(attributes, op_type, COLUMNS)
    expected = ask_onnx_runtime(content, x)
    np.testing.assert_allclose(evaluate(ensemble, x), expected, **EXP)


def export(kind: str, x: np.ndarray, y: np.ndarray) -> bytes:
    import lightgbm
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType as SklearnTensorType
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
    from sklearn.tree import DecisionTreeClassifier

    options = {"n_estimators": 20, "num_leaves": 90, "min_child_samples": 3, "n_jobs": 1, "verbose": -1}
    several = np.digitize(y, [-0.5, 0.5])
    models: dict[str, Any] = {
        "lightgbm": lambda: lightgbm.LGBMRegressor(**options).fit(x, y),
        "categories": lambda: lightgbm.LGBMRegressor(**options).fit(x, y, categorical_feature=[3]),
        "classifier": lambda: lightgbm.LGBMClassifier(**options).fit(x, (y > 0).astype(int)),
        "multiclass": lambda: lightgbm.LGBMClassifier(**options).fit(x, several),
        "forest": lambda: RandomForestRegressor(10, random_state=0).fit(x, y),
        "boosting": lambda: GradientBoostingRegressor(n_estimators=10, max_depth=5, random_state=0).fit(x, y),
        "tree": lambda: DecisionTreeClassifier(random_state=0).fit(x, several),
    }
    model = models[kind]()
    if kind in ("forest", "boosting", "tree"):
        types = [("features", SklearnTensorType([None, WIDTH]))]
        named = {id(model): {"zipmap": False}} if kind == "tree" else None
        return bytes(convert_sklearn(model, initial_types=types, options=named).SerializeToString())
    types = [("features", FloatTensorType([None, WIDTH]))]
    named = {"zipmap": False} if "class" in kind else {}
    return bytes(onnxmltools.convert_lightgbm(model, initial_types=types, target_opset=15, **named).SerializeToString())
