from dataclasses import replace

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from ranker.errors import ModelRejected, WrongShape
from ranker.scoring.split.parts import Parts, Side
from ranker.scoring.split.product_part import ProductPart
from tests.support.models import onnx_bytes, tensor
from tests.support.splits import PLAIN, cut_mlp, cut_trees

TREES = cut_trees(PLAIN, trees=3, leaves=8).parts
PRODUCTS = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)


@pytest.mark.parametrize("kept", [(2,), (0, 1), (2, 0), (0, 1, 2)])
def test_trees_masks_stand_behind_the_columns_that_are_kept(kept: tuple[int, ...]) -> None:
    part = ProductPart(replace(TREES, pair_needs_product=kept), PLAIN)
    prepared = part.prepare(PRODUCTS)
    assert prepared.shape == (6, part.width)
    assert part.width % 2 == 0
    np.testing.assert_array_equal(part.kept(prepared), PRODUCTS[:, list(kept)])
    expected = ProductPart(TREES, PLAIN).masks(ProductPart(TREES, PLAIN).prepare(PRODUCTS))
    assert expected.any()
    np.testing.assert_array_equal(part.masks(prepared), expected)


def test_masks_are_a_view_where_64_bits_may_lie_and_else_a_copy() -> None:
    part = ProductPart(TREES, PLAIN)
    prepared = part.prepare(PRODUCTS)
    assert np.shares_memory(part.masks(prepared), prepared)
    odd = np.empty((6, part.width + 2), np.float32)[:, 1:-1]  # memory begins at a multiple of 16
    odd[:] = prepared
    masks = part.masks(odd)
    assert masks.flags.aligned
    assert not np.shares_memory(masks, odd)
    np.testing.assert_array_equal(masks, part.masks(prepared))


def test_what_is_prepared_of_the_default_product_cannot_be_written_to() -> None:
    part = ProductPart(cut_mlp(PLAIN).parts, PLAIN)
    np.testing.assert_array_equal(part.default, part.prepare(PLAIN.product.defaults[np.newaxis])[0])
    with pytest.raises(ValueError, match="read-only"):
        part.default[0] = 1


def test_no_products_have_no_rows_of_float32() -> None:
    part = ProductPart(TREES, PLAIN)
    none = part.prepare(PRODUCTS[:0])
    assert (none.shape, none.dtype) == ((0, part.width), np.float32)


def test_products_of_another_type_are_refused_with_it() -> None:
    with pytest.raises(WrongShape, match="The float64 matrix of products"):
        ProductPart(TREES, PLAIN).prepare(PRODUCTS.astype(np.float64))


@pytest.mark.parametrize("column", [-1, 3])
def test_a_column_that_the_part_does_not_give_is_refused(column: int) -> None:
    with pytest.raises(ModelRejected, match=rf"reads column {column} of a product part of 3"):
        ProductPart(replace(TREES, pair_needs_product=(column,)), PLAIN)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("ReduceSum", ["product", "axes"], ["product_part"], keepdims=0),
        helper.make_node("Cast", ["product"], ["product_part"], to=TensorProto.DOUBLE),
        helper.make_node("Concat", ["product", "product"], ["product_part"], axis=0),
        helper.make_node("Unsqueeze", ["product", "axes"], ["product_part"]),
    ],
    ids=["one axis", "doubles", "more rows", "three axes"],
)
def test_a_part_that_gives_no_row_of_float32_for_each_product_is_refused(node: NodeProto) -> None:
    kind = TensorProto.DOUBLE if node.op_type == "Cast" else TensorProto.FLOAT
    output = helper.make_tensor_value_info("product_part", kind, None)
    constants = {"axes": np.array([1])} if "axes" in node.input else {}
    product = onnx_bytes([node], [tensor("product", ["n", 3])], [output], constants)
    with pytest.raises(ModelRejected, match="cannot prepare the default product"):
        ProductPart(Parts(None, product, None, None), PLAIN)


def test_trees_are_asked_of_what_the_part_makes_of_a_product() -> None:
    assert TREES.trees is not None
    turned = onnx_bytes(
        [helper.make_node("Neg", ["product"], ["product_part"])],
        [tensor("product", ["n", 3])],
        [tensor("product_part", ["n", 3])],
    )
    part = ProductPart(replace(TREES, product=turned, pair_needs_product=(1,)), PLAIN)
    prepared = part.prepare(PRODUCTS)
    np.testing.assert_array_equal(part.masks(prepared), TREES.trees.masks(Side.PRODUCT, -PRODUCTS))
    np.testing.assert_array_equal(part.kept(prepared), -PRODUCTS[:, [1]])
