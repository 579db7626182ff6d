"""ONNX files, read as far as ONNX Runtime keeps silent: the operators, and the classes that a classifier names.

Owns the walk through the wire format (https://protobuf.dev/programming-guides/encoding, fields of onnx.proto). Knows
nothing of schemas; serving needs no package onnx for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_GRAPH, _NODE, _INITIALIZER = 7, 1, 5  # ModelProto, GraphProto
_EXTERNAL, _KEY, _VALUE = 13, 1, 2  # TensorProto, StringStringEntryProto
_INPUT, _OUTPUT, _OPERATOR, _ATTRIBUTE = 1, 2, 4, 5  # NodeProto
_NAME, _INT, _INTS, _STRINGS = 1, 3, 8, 9  # AttributeProto
_DATA_TYPE, _INT64S, _TENSOR_NAME, _RAW = 2, 7, 8, 9  # TensorProto
_INT64, _MOST_AXES = 7, 8
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Node:
    """An operator of the graph, those inside of its loops and branches apart.

    Attributes:
        operator: Such as `Gemm`.
        inputs: Names of tensors.
        outputs: Names of tensors.
        classes: The classes that a classifier names, in the order of its columns; empty for other operators.
        axes: The axes that it works over, where its attributes say.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    classes: tuple[str, ...]
    axes: tuple[int, ...] = ()


def read_nodes(content: bytes | memoryview) -> list[Node]:
    """Return the operators of a graph that ONNX Runtime has loaded; none where the file is no protocol buffer."""
    try:
        graphs = [value for number, value in _fields(memoryview(content)) if number == _GRAPH]
        return [_node(_bytes(value)) for graph in graphs for number, value in _fields(_bytes(graph)) if number == _NODE]
    except (IndexError, ValueError):  # such as ONNX Runtime's own format
        return []


def small_integers(content: bytes | memoryview) -> dict[str, tuple[int, ...]]:
    """Return the constants that are a few whole numbers, as axes are, by their names."""
    try:
        graphs = [value for number, value in _fields(memoryview(content)) if number == _GRAPH]
        fields = (field for graph in graphs for field in _fields(_bytes(graph)))
        found = (_small_integers(_bytes(value)) for number, value in fields if number == _INITIALIZER)
        return dict(filter(None, found))
    except (IndexError, ValueError):
        return {}


def external_files(content: bytes | memoryview) -> tuple[str, ...]:
    """Return the files, other than its own, that a graph has weights in, as it names them."""
    try:
        graphs = [value for number, value in _fields(memoryview(content)) if number == _GRAPH]
        fields = (field for graph in graphs for field in _fields(_bytes(graph)))
        tensors = (_bytes(value) for number, value in fields if number == _INITIALIZER)
        entries = (value for tensor in tensors for number, value in _fields(tensor) if number == _EXTERNAL)
        pairs = [{number: _text(value) for number, value in _fields(_bytes(entry))} for entry in entries]
    except (IndexError, ValueError):  # such as ONNX Runtime's own format
        return ()
    return tuple(dict.fromkeys(pair.get(_VALUE, "") for pair in pairs if pair.get(_KEY) == "location"))


def classes_of(nodes: list[Node], output: str) -> tuple[str, ...]:
    """Return the classes that an output's columns stand for: of the classifier nearest before it, if there is one."""
    producers = {name: node for node in nodes for name in node.outputs}
    waiting, seen = [output], {""}
    for name in waiting:
        if name in seen or (node := producers.get(name)) is None:
            continue
        if node.classes:
            return node.classes
        seen.add(name)
        waiting += node.inputs
    return ()


def _node(view: memoryview) -> Node:
    operator = ""
    inputs: list[str] = []
    outputs: list[str] = []
    classes: tuple[str, ...] = ()
    axes: tuple[int, ...] = ()
    for number, value in _fields(view):
        if number == _INPUT:
            inputs.append(_text(value))
        elif number == _OUTPUT:
            outputs.append(_text(value))
        elif number == _OPERATOR:
            operator = _text(value)
        elif number == _ATTRIBUTE:
            classes = _classes(_bytes(value)) or classes
            axes = _axes(_bytes(value)) or axes
    return Node(operator, tuple(inputs), tuple(outputs), classes, axes)


def _classes(attribute: memoryview) -> tuple[str, ...]:
    named = False
    found: list[str] = []
    for number, value in _fields(attribute):
        if number == _NAME:
            if not (named := _text(value).startswith("classlabels_")):
                return ()  # the name comes first; those of 500 trees hold half a million numbers
        elif number == _STRINGS:
            found.append(_text(value))
        elif number == _INTS:  # one by one, or packed
            found += [str(_signed(each)) for each in ([value] if isinstance(value, int) else _varints(value))]
    return tuple(found) if named else ()


def _axes(attribute: memoryview) -> tuple[int, ...]:
    named = False
    found: list[int] = []
    for number, value in _fields(attribute):
        if number == _NAME:
            if not (named := _text(value) in ("axis", "axes")):
                return ()
        elif number in (_INT, _INTS):
            found += [_signed(each) for each in ([value] if isinstance(value, int) else _varints(value))]
    return tuple(found) if named else ()


def _small_integers(tensor: memoryview) -> tuple[str, tuple[int, ...]] | None:
    name, kind, values = "", 0, list[int]()
    for number, value in _fields(tensor):
        if number == _TENSOR_NAME:
            name = _text(value)
        elif number == _DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == _INT64S:
            values += [_signed(each) for each in ([value] if isinstance(value, int) else _varints(value))]
        elif number == _RAW and len(raw := _bytes(value)) <= 8 * _MOST_AXES and len(raw) % 8 == 0:
            values += struct.unpack(f"<{len(raw) // 8}q", raw)
    return (name, tuple(values)) if kind == _INT64 and 0 < len(values) <= _MOST_AXES else None


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the fields of a message: their numbers, with an integer or the bytes that they hold."""
    at = 0
    while at < len(view):
        key, at = _varint(view, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(view, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(view, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(view):
            raise ValueError("cut short")
        yield key >> 3, view[at : at + size]
        at += size


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _varints(packed: memoryview) -> Iterator[int]:
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("an integer where a message was due")
    return value


def _text(value: int | memoryview) -> str:
    return str(_bytes(value), "utf-8", "replace")
