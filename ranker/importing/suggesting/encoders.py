"""Encoders of a graph: the texts and tables that an input ends in, followed through the nodes behind it.

Owns the walk. A column is followed where it is joined with others and taken out again, as skl2onnx and PyTorch
write it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ranker.importing.graph_file import onnx_package

_PASSING = frozenset({"Identity", "Reshape", "Cast", "Squeeze", "Unsqueeze", "Flatten", "Imputer", "Scaler"})
_TREES = frozenset({"TreeEnsembleRegressor", "TreeEnsembleClassifier", "TreeEnsemble"})
MAX_STEPS = 400
MAX_COLUMNS = 1 << 24


@dataclass(frozen=True, slots=True)
class Found:
    """End of a column of an input.

    Attributes:
        texts: The texts that an encoder knows, in its order.
        table: Rows of the table that it is looked up in; None where there is none.
        tensor: The table's name.
        is_padded: Whether the table's first row is all 0, as that of what fills up sequences.
        imputes: Whether NaN of it is replaced on the way.
    """

    texts: tuple[str, ...] = ()
    table: int | None = None
    tensor: str = ""
    is_padded: bool = False
    imputes: bool = False


class Encoders:
    """Follows inputs of a graph.

    Args:
        model: The graph.
    """

    def __init__(self, model: Any) -> None:
        self._helper = onnx_package().helper
        self._to_array = onnx_package().numpy_helper.to_array
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._users: dict[str, list[Any]] = {}
        for node in model.graph.node:
            for name in dict.fromkeys(node.input):
                self._users.setdefault(name, []).append(node)
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self._constants[node.output[0]] = node.attribute[0].t
        self.has_trees = any(node.op_type in _TREES for node in model.graph.node)
        """Whether trees rank, which take NaN as they were trained on it."""

    def find(self, tensor: str, column: int = 0) -> Found:
        """Return what a column of a tensor ends in: the first encoder or table on its way."""
        waiting, seen, imputes = [(tensor, column)], set[tuple[str, int]](), False
        while waiting and len(seen) < MAX_STEPS:
            at = waiting.pop(0)
            if at in seen:
                continue
            seen.add(at)
            for node in self._users.get(at[0], []):
                if found := self._ends_in(node, at[0]):
                    return replace(found, imputes=imputes)
                imputes = imputes or self._replaces_nan(node)
                waiting += self._positions(node, *at)
        return Found(imputes=imputes)

    def _ends_in(self, node: Any, tensor: str) -> Found | None:
        if node.op_type == "Gather" and tensor == node.input[1] and node.input[0] in self._constants:
            table = self._constants[node.input[0]]
            return Found(table=int(table.dims[0]), tensor=table.name or node.input[0], is_padded=self._is_padded(table))
        for attribute in node.attribute:
            if attribute.name in ("keys_strings", "cats_strings", "classes_strings", "vocab_strings"):
                texts = [text.decode(errors="replace") for text in self._helper.get_attribute_value(attribute)]
                if texts:
                    return Found(texts=tuple(texts))
            if attribute.name == "keys_tensor" and attribute.t.data_type == onnx_package().TensorProto.STRING:
                keys = self._to_array(attribute.t).reshape(-1).tolist()
                return Found(texts=tuple(key.decode() if isinstance(key, bytes) else str(key) for key in keys))
        return None

    def _is_padded(self, table: Any) -> bool:
        """Whether the first row of a table is all 0; unknown, and so not, where its values lie in another file."""
        if table.data_location == onnx_package().TensorProto.EXTERNAL or len(table.dims) < 2 or not table.dims[0]:
            return False
        return not self._to_array(table)[0].any()

    def _replaces_nan(self, node: Any) -> bool:
        return node.op_type == "Imputer" and any(
            attribute.name == "replaced_value_float" and math.isnan(attribute.f) for attribute in node.attribute
        )

    def _positions(self, node: Any, tensor: str, column: int) -> Iterator[tuple[str, int]]:
        """Yield the columns of a node's outputs that a column of its input becomes."""
        if node.op_type == "Concat":  # of inputs (n, 1), as exporters join columns
            yield node.output[0], list(node.input).index(tensor) + column
        elif node.op_type == "ArrayFeatureExtractor" or (node.op_type == "Gather" and self._axis(node) in (1, -1)):
            picked = self._values(node, 1)
            yield from ((node.output[0], i) for i, taken in enumerate(picked) if taken == column)
        elif node.op_type == "Slice":
            sliced = self._sliced(node)
            if column in sliced:
                yield node.output[0], column - sliced.start
        elif node.op_type == "Split" and self._axis(node) in (1, -1):
            sizes = self._values(node, 1) or self._attribute(node, "split") or [1] * len(node.output)
            for output, size in zip(node.output, sizes, strict=False):
                if 0 <= column < size:
                    yield output, column
                column -= size
        elif node.op_type in _PASSING:
            yield node.output[0], column

    def _sliced(self, node: Any) -> range:
        """Return the columns that a Slice takes; none where they are not plainly a run of columns."""
        starts = self._values(node, 1) or self._attribute(node, "starts")
        ends = self._values(node, 2) or self._attribute(node, "ends")
        axes = self._values(node, 3) or self._attribute(node, "axes")
        steps = self._values(node, 4) or [1]
        if len(starts) != 1 or len(ends) != 1 or axes not in ([1], [-1]) or starts[0] < 0 or steps != [1]:
            return range(0)
        return range(starts[0], ends[0] if ends[0] >= 0 else MAX_COLUMNS)

    def _axis(self, node: Any) -> int:
        return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)

    def _attribute(self, node: Any, name: str) -> list[int]:
        return next((list(attribute.ints) for attribute in node.attribute if attribute.name == name), [])

    def _values(self, node: Any, place: int) -> list[int]:
        """Return a node's input that is constant, one value behind the other; none where it is not."""
        constant = self._constants.get(node.input[place]) if len(node.input) > place else None
        return [] if constant is None else np.asarray(self._to_array(constant)).reshape(-1).tolist()
