"""Graph writer: nodes in the dialect of a graph's opset, before its own and behind them.

Owns names and the few operators that changed over the opsets. Knows nothing of features or scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.importing.graph_file import onnx_package, opset_of

PREFIX = "ranker/"


class GraphWriter:
    """Collects nodes and constants for a graph; `put_before` and `put_behind` put them into it.

    Args:
        model: The graph, which those change.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.opset = opset_of(model)
        self._onnx = onnx_package()
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._count = 0
        self._known = self._names()

    def name(self, wish: str) -> str:
        """Return a name that the graph has not yet."""
        name = f"{PREFIX}{wish}"
        while name in self._known:
            self._count += 1
            name = f"{PREFIX}{wish}{self._count}"
        self._known.add(name)
        return name

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Add a constant tensor."""
        name = self.name("constant")
        self._constants.append(self._onnx.numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def texts(self, values: list[str]) -> str:
        """Add a constant tensor of texts."""
        name = self.name("texts")
        kind = self._onnx.TensorProto.STRING
        self._constants.append(
            self._onnx.helper.make_tensor(name, kind, [len(values)], [value.encode() for value in values])
        )
        return name

    def node(self, operator: str, *inputs: str, into: str | None = None, **attributes: Any) -> str:
        """Add a node with one output, and return the output's name."""
        output = into or self.name(operator.lower())
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def cast(self, tensor: str, kind: str, into: str | None = None) -> str:
        """Cast to the elements of a kind, such as `int64`."""
        return self.node("Cast", tensor, into=into, to=self.element_type(kind))

    def element_type(self, kind: str) -> int:
        """Return ONNX's number for a kind of element, such as `int64`."""
        return int(self._onnx.TensorProto.DataType.Value(kind.upper()))

    def reshape(self, tensor: str, shape: tuple[int, ...], into: str | None = None) -> str:
        """Give a tensor other axes; one of them may be -1."""
        return self.node("Reshape", tensor, self.constant(shape, np.int64), into=into)

    def columns(self, matrix: str, columns: list[int]) -> str:
        """Take columns of a matrix; adjacent ones at once."""
        if columns != list(range(columns[0], columns[0] + len(columns))):
            return self.node("Gather", matrix, self.constant(columns, np.int64), axis=1)
        start, stop = columns[0], columns[0] + len(columns)
        if self.opset < 10:
            return self.node("Slice", matrix, axes=[1], starts=[start], ends=[stop])
        bounds = (self.constant([value], np.int64) for value in (start, stop, 1))
        return self.node("Slice", matrix, *bounds)

    def declare(self, name: str, kind: str, shape: list[int | str] | None) -> Any:
        """Declare an input or output; of unknown shape where it is None."""
        return self._onnx.helper.make_tensor_value_info(name, self.element_type(kind), shape)

    def attribute(self, node: Any, prefix: str) -> list[Any]:
        """Return the values of a node's first attribute whose name begins so; none where it has none."""
        for attribute in node.attribute:
            if attribute.name.startswith(prefix):
                return list(self._onnx.helper.get_attribute_value(attribute))
        return []

    def put_before(self) -> None:
        """Put what was written before the graph's own nodes."""
        own = list(self.model.graph.node)
        del self.model.graph.node[:]
        self.model.graph.node.extend([*self._nodes, *own])
        self._put_constants()

    def put_behind(self) -> None:
        """Put what was written behind the graph's own nodes."""
        self.model.graph.node.extend(self._nodes)
        self._put_constants()

    def _put_constants(self) -> None:
        self.model.graph.initializer.extend(self._constants)
        self._nodes, self._constants = [], []

    def _names(self) -> set[str]:
        graph = self.model.graph
        named = [*graph.input, *graph.output, *graph.initializer, *graph.value_info]
        return {one.name for one in named} | {name for node in graph.node for name in (*node.input, *node.output)}
