"""Part graph: the graph of one side while it is written: nodes, constants, and what is known of each tensor.

Owns names, that nothing is computed twice, and which tensors are columns as they come. Knows nothing of other sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ranker.importing.graph_file import onnx_package
from ranker.importing.splitting.values import ROWS, Array, Counted, Fact, Shape, size_of
from ranker.scoring.split.parts import PAIR_COLUMNS, PRODUCT_INPUT, REQUEST_INPUT, ROW_REQUEST, Side

INPUTS = {Side.REQUEST: REQUEST_INPUT, Side.PRODUCT: PRODUCT_INPUT, Side.PAIR: PAIR_COLUMNS}
PREFIX = "split/"
_FLOAT32, _INT64 = np.dtype(np.float32), np.dtype(np.int64)


class PartGraph:
    """Collects the nodes of one side.

    Args:
        side: Whose columns are its input.
        width: How many these are.
    """

    def __init__(self, side: Side, width: int) -> None:
        self.side = side
        self.width = width
        self.facts: dict[str, Fact] = {}
        self.constants: dict[str, Array] = {}
        self.counted: dict[str, Counted] = {}
        self.raw: dict[str, tuple[int, ...]] = {}
        """Names of tensors that are columns of the input, and which."""
        self.places: dict[str, list[tuple[str, list[int]]]] = {}
        """Names of tensors whose last axis is made of places of others, and which, in order."""
        self.producers: dict[str, Any] = {}
        self.nodes: list[Any] = []
        self._onnx = onnx_package()
        self._known: dict[tuple[Any, ...], list[str]] = {}
        self._reshaped: set[str] = set()
        self._turned: dict[str, tuple[str, list[int]]] = {}
        self._count = 0
        self.input = INPUTS[side]
        self.facts[self.input] = Fact((ROWS, width), _FLOAT32)
        self.raw[self.input] = tuple(range(width))

    def shape(self, name: str) -> Shape:
        shape = self.facts[name].shape
        assert shape is not None
        return shape

    def dtype(self, name: str) -> np.dtype[Any]:
        dtype = self.facts[name].dtype
        assert dtype is not None
        return dtype

    def constant(self, array: Array) -> str:
        """Return the name of a constant."""
        text = array.dtype == object
        content: Any = (
            tuple(array.ravel().tolist()) if text else hashlib.sha256(np.ascontiguousarray(array).data).digest()
        )
        key = ("constant", str(array.dtype), array.shape, content)
        if key not in self._known:
            name = self._name("constant")
            self._known[key] = [name]
            self.constants[name] = array
            self.facts[name] = Fact(array.shape, array.dtype)
        return self._known[key][0]

    def integers(self, values: Iterable[int]) -> str:
        return self.constant(np.array(list(values), dtype=np.int64))

    def write(
        self,
        operator: str,
        inputs: Sequence[str],
        facts: Sequence[Fact],
        attributes: Sequence[Any] = (),
        domain: str = "",
        outputs: Sequence[bool] | None = None,
    ) -> list[str]:
        """Write a node, or find the one that is the same; return the names of its outputs, empty for those left out."""
        serialized = tuple(attribute.SerializeToString() for attribute in attributes)
        key = (operator, domain, tuple(inputs), serialized, tuple(outputs or ()))
        if key not in self._known:
            named = outputs or [True] * len(facts)
            names = [self._name(operator.lower()) if there else "" for there in named]
            node = self._onnx.helper.make_node(operator, list(inputs), names, domain=domain)
            node.attribute.extend(attributes)
            self.nodes.append(node)
            self._known[key] = names
            for name, fact in zip(names, facts, strict=True):
                if name:
                    self.facts[name] = fact
                    self.producers[name] = node
        return self._known[key]

    def node(self, operator: str, *inputs: str, shape: Shape, dtype: Any = None, **attributes: Any) -> str:
        """Write a node with one output, of the first input's dtype where none is given."""
        made = [self._onnx.helper.make_attribute(name, value) for name, value in attributes.items()]
        return self.write(operator, inputs, [Fact(shape, dtype or self.dtype(inputs[0]))], made)[0]

    def bind(self, name: str, given: str) -> None:
        """Give a tensor a name that a body looks for outside of itself."""
        if name not in self.facts:
            self.nodes.append(self._onnx.helper.make_node("Identity", [given], [name]))
            self.facts[name] = self.facts[given]
            self.producers[name] = self.nodes[-1]

    def columns(self, indices: Sequence[int]) -> str:
        """Return columns of the input."""
        if tuple(indices) == self.raw[self.input]:
            return self.input
        name = self._select(self.input, 1, indices)
        self.raw[name] = tuple(indices)
        return name

    def take(self, name: str, axis: int, indices: Sequence[int]) -> str:
        """Return places of a tensor along an axis; all of them where it has one for all."""
        length = self.shape(name)[axis]
        if length == 1 or list(indices) == list(range(length)):
            return name
        if axis == 1 and name in self.raw:
            return self.columns([self.raw[name][i] for i in indices])
        if axis != len(self.shape(name)) - 1:
            return self._select(name, axis, indices)
        stands = [(source, place) for source, places in self.places_of(name) for place in places]
        taken = [stands[i] for i in indices]
        source = taken[0][0]
        if taken == [(source, place) for place in range(self.shape(source)[axis])]:
            return source
        made = self._select(name, axis, indices)
        self.places[made] = [(source, [place]) for source, place in taken]
        return made

    def places_of(self, name: str) -> list[tuple[str, list[int]]]:
        """Return of which tensors the last axis of one is made, with the places that stand there."""
        return self.places.get(name) or [(name, list(range(self.shape(name)[-1])))]

    def cast(self, name: str, dtype: np.dtype[Any]) -> str:
        if self.dtype(name) == dtype:
            return name
        to = self._onnx.helper.np_dtype_to_tensor_dtype(dtype)
        return self.node("Cast", name, shape=self.shape(name), dtype=dtype, to=to)

    def reshape(self, name: str, shape: Shape) -> str:
        while (node := self.producers.get(name)) is not None and node.op_type == "Reshape" and name in self._reshaped:
            name = node.input[0]
        if self.shape(name) == shape:
            return name
        made = self.node("Reshape", name, self.integers(shape), shape=shape)
        self._reshaped.add(made)
        return made

    def transpose(self, name: str, order: Sequence[int]) -> str:
        if list(order) == sorted(order):
            return name
        if name in self._turned and [self._turned[name][1][i] for i in order] == sorted(order):
            return self._turned[name][0]
        shape = self.shape(name)
        made = self.node("Transpose", name, shape=tuple(shape[i] for i in order), perm=list(order))
        self._turned[made] = name, list(order)
        return made

    def expand(self, name: str, shape: Shape) -> str:
        """Repeat a tensor along axes that it has one place on."""
        if self.shape(name) == shape:
            return name
        if ROWS in self.shape(name):
            target = self.integers(1 if length == ROWS else length for length in shape)
        else:
            slope = np.array([length == ROWS for length in shape], dtype=np.int64)
            target = self.count(Counted(np.array(shape, dtype=np.int64) * (1 - slope), slope))
        return self.node("Expand", name, target, shape=shape)

    def join(self, names: Sequence[str], axis: int) -> str:
        """Put tensors beside one another, all in one step."""
        names = [one for name in names for one in self._beside(name, axis)]
        if len(names) == 1:
            return names[0]
        if axis == 1 and all(name in self.raw for name in names):
            return self.columns([i for name in names for i in self.raw[name]])
        shape = list(self.shape(names[0]))
        shape[axis] = sum(self.shape(name)[axis] for name in names)
        made = self.node("Concat", *names, shape=tuple(shape), axis=axis)
        if axis == len(shape) - 1:
            self.places[made] = [places for name in names for places in self.places_of(name)]
        return made

    def _beside(self, name: str, axis: int) -> list[str]:
        """Return what was put beside one another to make a tensor."""
        node = self.producers.get(name)
        if node is None or node.op_type != "Concat" or node.attribute[0].i % len(self.shape(name)) != axis:
            return [name]
        return list(node.input)

    def count(self, counted: Counted) -> str:
        """Return whole numbers that depend on how many rows there are."""
        if not counted.slope.any():
            return self.constant(counted.offset)
        source = ROW_REQUEST if self.side is Side.PAIR else self.input
        if source == ROW_REQUEST:
            self.facts.setdefault(source, Fact((ROWS,), _INT64))
        shape = self.node("Shape", source, shape=(len(self.shape(source)),), dtype=_INT64)
        rows = self.node("Gather", shape, self.integers([0]), shape=(1,))
        flat = Counted(counted.offset.reshape(-1), counted.slope.reshape(-1))
        name = self.node("Mul", rows, self.constant(flat.slope), shape=flat.slope.shape)
        name = self.node("Add", name, self.constant(flat.offset), shape=flat.slope.shape)
        name = self.reshape(name, counted.offset.shape)
        self.counted[name] = counted
        return name

    def flat(self, name: str) -> str:
        """Return a tensor as (n, K) float32, its rows first."""
        shape = self.shape(name)
        rows = shape.index(ROWS)
        name = self.transpose(name, [rows, *(i for i in range(len(shape)) if i != rows)])
        return self.cast(self.reshape(name, (ROWS, size_of(shape))), _FLOAT32)

    def unflat(self, name: str, shape: Shape, dtype: np.dtype[Any]) -> str:
        """Undo `flat`."""
        rows = shape.index(ROWS)
        others = [i for i in range(len(shape)) if i != rows]
        name = self.reshape(self.cast(name, dtype), (ROWS, *(shape[i] for i in others)))
        return self.transpose(name, [others.index(i) + 1 if i != rows else 0 for i in range(len(shape))])

    def _select(self, name: str, axis: int, indices: Sequence[int]) -> str:
        shape = (*self.shape(name)[:axis], len(indices), *self.shape(name)[axis + 1 :])
        start, stop = indices[0], indices[-1] + 1
        if list(indices) == list(range(start, stop)):
            bounds = (self.integers([value]) for value in (start, stop, axis))
            return self.node("Slice", name, *bounds, shape=shape)
        return self.node("Gather", name, self.integers(indices), shape=shape, axis=axis)

    def _name(self, wish: str) -> str:
        self._count += 1
        return f"{PREFIX}{wish}{self._count}"
