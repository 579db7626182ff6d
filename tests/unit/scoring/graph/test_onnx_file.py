"""What is read of an ONNX file without the package onnx: files that it writes, and bytes as others may write them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from ranker.scoring.graph.onnx_file import Node, classes_of, external_files, read_nodes, small_integers


def model(*nodes: NodeProto, constants: tuple[TensorProto, ...] = ()) -> bytes:
    graph = helper.make_graph(nodes, "graph", [], [], initializer=constants)
    return bytes(helper.make_model(graph).SerializeToString())


def varint(value: int) -> bytes:
    """Write an integer of 64 bits, seven to a byte."""
    value %= 1 << 64
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def content(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def of_node(written: bytes) -> bytes:
    """Return a model whose graph has one node, given as it is written."""
    return content(7, content(1, written))


def of_constant(written: bytes) -> bytes:
    return content(7, content(5, written))


def external(name: str, **entries: str) -> TensorProto:
    """Return a constant whose values lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, **({"value": value} if value else {}))
    return tensor


def test_files_beside_a_graph_are_named_once_in_order() -> None:
    constants = (
        external("a", location="weights.bin", offset="8"),
        numpy_helper.from_array(np.ones(1, np.float32), "here"),
        external("b", length="4", location="more.bin"),
        external("c", location="weights.bin"),
        external("d", location=""),
        external("e", checksum="location"),
    )
    node = helper.make_node("Relu", ["a"], ["b"])
    assert external_files(model(node, constants=constants)) == ("weights.bin", "more.bin", "")
    assert external_files(model(node)) == ()


def test_nodes_have_their_operators_tensors_classes_and_axes() -> None:
    long = "x" * 128  # its length takes two bytes, of which the first is 0x80
    nodes = (
        helper.make_node("LinearClassifier", ["x", ""], ["label", "p"], alpha=0.5, classlabels_ints=[3, -1]),
        helper.make_node("TreeEnsembleClassifier", ["x"], ["", long], classlabels_strings=["no", "yes"], axis=1),
        helper.make_node("Softmax", ["p"], ["q"], name="named", axis=-1),
        helper.make_node("ReduceSum", ["q"], ["s"], axes=[0, 2], keepdims=1),
        helper.make_node("Identity", ["s"], ["t"], labels=["no", "yes"], levels=[4, 5]),
    )
    assert read_nodes(model(*nodes)) == [
        Node("LinearClassifier", ("x", ""), ("label", "p"), ("3", "-1"), ()),
        Node("TreeEnsembleClassifier", ("x",), ("", long), ("no", "yes"), (1,)),
        Node("Softmax", ("p",), ("q",), (), (-1,)),
        Node("ReduceSum", ("q",), ("s",), (), (0, 2)),
        Node("Identity", ("s",), ("t",), (), ()),
    ]


def test_integers_are_read_packed_and_one_by_one_and_unknown_fields_are_passed_over() -> None:
    unknown = integer(900, 1 << 40) + varint(901 << 3 | 1) + 8 * b"\xff" + varint(902 << 3 | 5) + 4 * b"\xff"
    labels, axes = (content(1, name) for name in (b"classlabels_int64s", b"axes"))
    packed = content(8, b"".join(map(varint, (7, -2, 300))))
    single = b"".join(integer(8, value) for value in (7, -2, 300))
    for values in (packed, single):
        written = unknown + content(4, b"Op") + b"".join(content(5, name + values) for name in (labels, axes))
        assert read_nodes(of_node(written)) == [Node("Op", (), (), ("7", "-2", "300"), (7, -2, 300))]


def test_attribute_without_a_name_says_nothing() -> None:
    assert read_nodes(of_node(content(5, integer(8, 3) + content(9, b"yes")))) == [Node("", (), (), (), ())]


def test_text_that_is_not_in_utf_8_fails_nothing() -> None:
    assert read_nodes(of_node(content(4, b"\xffOp")))[0].operator == "\ufffdOp"


@pytest.mark.parametrize("read", [read_nodes, small_integers, external_files])
def test_bytes_that_are_no_such_file_say_nothing(read: object) -> None:
    assert callable(read)
    whole = model(
        helper.make_node("Relu", ["a"], ["b"]),
        constants=(numpy_helper.from_array(np.array([1]), "axes"), external("w", location="w.bin")),
    )
    assert read(whole)
    for wrong in (whole[:-1], b"ORTM" * 9, integer(7, 5), b"\x07", b"\xff"):
        assert len(read(wrong)) == 0


def test_few_whole_numbers_are_read_however_they_are_written() -> None:
    made = [
        numpy_helper.from_array(np.array(values, np.int64), name)
        for name, values in (("one", [-1]), ("eight", range(8)), ("nine", range(9)), ("none", []))
    ]
    listed = helper.make_tensor("listed", TensorProto.INT64, [2], [1, -2])
    others = [numpy_helper.from_array(np.array([1, 2], np.int32), "int32"), numpy_helper.from_array(np.ones(1), "ones")]
    read = small_integers(model(constants=(*made, listed, *others)))
    assert read == {"one": (-1,), "eight": tuple(range(8)), "listed": (1, -2)}
    named = content(8, b"by hand")
    singly = named + integer(2, TensorProto.INT64) + integer(7, 4) + integer(7, -5)
    assert small_integers(of_constant(singly)) == {"by hand": (4, -5)}
    twice = named + integer(2, TensorProto.INT64) + 2 * content(9, (6).to_bytes(8, "little"))
    assert small_integers(of_constant(twice)) == {"by hand": (6, 6)}
    assert small_integers(of_constant(integer(2, TensorProto.INT64) + integer(7, 4))) == {"": (4,)}
    assert small_integers(of_constant(named + integer(7, 4))) == {}  # of no type


def test_classes_are_those_of_the_nearest_classifier_before_an_output() -> None:
    classifier = helper.make_node("Trees", ["x"], ["", "p"], classlabels_strings=["no", "yes"])
    other = helper.make_node("Trees", ["x"], ["far"], classlabels_ints=[1, 2, 3])
    nodes = read_nodes(
        model(
            *(classifier, other),
            helper.make_node("Mul", ["x", "p"], ["scaled"]),  # x is nobody's output
            helper.make_node("Add", ["far", "scaled"], ["sum"]),
            helper.make_node("Clip", ["x", "", "bound"], ["clipped"]),
            helper.make_node("Relu", ["clipped"], ["kept"]),
        )
    )
    expected = {"p": ("no", "yes"), "scaled": ("no", "yes"), "sum": ("1", "2", "3"), "kept": (), "x": (), "else": ()}
    assert {name: classes_of(nodes, name) for name in expected} == expected


def test_attributes_of_text_beside_classes_change_nothing() -> None:
    attribute = AttributeProto(name="post_transform", type=AttributeProto.STRING, s=b"NONE")
    node = helper.make_node("Trees", ["x"], ["p"], classlabels_strings=["no", "yes"], axis=2)
    node.attribute.append(attribute)
    assert read_nodes(model(node)) == [Node("Trees", ("x",), ("p",), ("no", "yes"), (2,))]
