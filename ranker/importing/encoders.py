"""Encoders of a graph: the texts and tables that an input ends in, followed through the nodes behind it.

Owns the walk. A column is followed where it is joined with others and taken out again, as skl2onnx writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ranker.importing.graph_file import onnx_package

_PASSING = frozenset({"Identity", "Reshape", "Cast", "Squeeze", "Unsqueeze", "Flatten", "Imputer", "Scaler"})
_PICKING = frozenset({"ArrayFeatureExtractor", "Gather"})
MAX_STEPS = 400


@dataclass(frozen=True, slots=True)
class Found:
    """What a column of an input ends in.

    Attributes:
        texts: The texts that an encoder knows, in its order.
        table: Rows of the table that it is looked up in; None where there is none.
    """

    texts: tuple[str, ...] = ()
    table: int | None = None


class Encoders:
    """Follows inputs of a graph.

    Args:
        model: The graph.
    """

    def __init__(self, model: Any) -> None:
        self._helper = onnx_package().helper
        self._to_array = onnx_package().numpy_helper.to_array
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._users: dict[str, list[Any]] = {}
        for node in model.graph.node:
            for name in dict.fromkeys(node.input):
                self._users.setdefault(name, []).append(node)

    def find(self, tensor: str, column: int = 0) -> Found:
        """Return what a column of a tensor ends in: the first encoder or table on its way."""
        waiting, seen = [(tensor, column)], set[tuple[str, int]]()
        while waiting and len(seen) < MAX_STEPS:
            at = waiting.pop(0)
            if at in seen:
                continue
            seen.add(at)
            for node in self._users.get(at[0], []):
                if found := self._ends_in(node, *at):
                    return found
                waiting += [(node.output[0], position) for position in self._positions(node, *at)]
        return Found()

    def _ends_in(self, node: Any, tensor: str, column: int) -> Found | None:
        if node.op_type == "Gather" and tensor == node.input[1] and node.input[0] in self._initializers:
            return Found(table=int(self._initializers[node.input[0]].dims[0]))
        for attribute in node.attribute:
            if attribute.name in ("keys_strings", "cats_strings", "classes_strings", "vocab_strings"):
                texts = [text.decode(errors="replace") for text in self._helper.get_attribute_value(attribute)]
                if texts:
                    return Found(texts=tuple(texts))
            if attribute.name == "keys_tensor" and attribute.t.data_type == onnx_package().TensorProto.STRING:
                keys = self._to_array(attribute.t).reshape(-1).tolist()
                return Found(texts=tuple(key.decode() if isinstance(key, bytes) else str(key) for key in keys))
        return None

    def _positions(self, node: Any, tensor: str, column: int) -> list[int]:
        """Return the columns of a node's output that a column of its input becomes."""
        if node.op_type == "Concat":  # of inputs (n, 1), as exporters join columns
            return [list(node.input).index(tensor) + column]
        if node.op_type in _PICKING and tensor == node.input[0] and node.input[1] in self._initializers:
            picked = np.asarray(self._to_array(self._initializers[node.input[1]])).reshape(-1).tolist()
            return [i for i, taken in enumerate(picked) if taken == column]
        return [column] if node.op_type in _PASSING else []
