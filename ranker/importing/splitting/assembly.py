"""Assembly: from the graphs of the sides to the parts that are served: which columns cross, and the ONNX files.

Owns the layout of what each side gives. Knows nothing of how the graphs came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ranker.importing.graph_file import onnx_package
from ranker.importing.splitting.graphs import Graphs, Piece
from ranker.importing.splitting.part_graph import PREFIX, PartGraph
from ranker.importing.splitting.reading import outer_names
from ranker.scoring.split.parts import (
    PAIR_COLUMNS,
    PRODUCT_PART,
    REQUEST_PART,
    ROW_REQUEST,
    SCORES,
    TREES,
    Side,
)

_MOVES = "Cast Concat Expand Flatten Gather Identity Reshape Shape Slice Split Squeeze Transpose Unsqueeze"
_TRIVIAL = frozenset(_MOVES.split())
_OUTPUTS = {Side.REQUEST: REQUEST_PART, Side.PRODUCT: PRODUCT_PART}


class Layout:
    """Layout of what one side gives: where each tensor of it lies.

    Args:
        graph: The side's.
        crossing: Tensors (n, K) that the pair part takes.
        trees: Tensors (n, K) that trees look at.

    Attributes:
        identical: Whether it is the columns as they are.
        width: Its number of columns.
    """

    def __init__(self, graph: PartGraph, crossing: Sequence[str], trees: Sequence[str]) -> None:
        self.graph = graph
        self.names = list(dict.fromkeys((*crossing, *trees)))
        self.identical = all(name in graph.raw for name in self.names)
        widths = [graph.shape(name)[1] for name in self.names]
        ends = np.cumsum([0, *widths]).tolist()
        self.width = graph.width if self.identical else int(ends[-1])
        self._starts = dict(zip(self.names, ends, strict=False))

    def places(self, name: str) -> list[int]:
        """Return the columns of what the side gives that are a tensor's."""
        if self.identical:
            return list(self.graph.raw[name])
        return list(range(self._starts[name], self._starts[name] + self.graph.shape(name)[1]))

    @property
    def works(self) -> bool:
        """Whether anything is computed that is worth to be computed early."""
        nodes, _ = live_nodes(self.graph, self.names)
        return any(node.op_type not in _TRIVIAL or node.input[0] in self.graph.constants for node in nodes)

    def to_bytes(self, model: Any) -> bytes | None:
        """Return the ONNX file; None where the columns are given as they are."""
        if self.identical:
            return None
        onnx, output = onnx_package(), _OUTPUTS[self.graph.side]
        operator = "Concat" if len(self.names) > 1 else "Identity"
        attributes = {"axis": 1} if len(self.names) > 1 else {}
        last = onnx.helper.make_node(operator, self.names, [output], **attributes)
        nodes, used = live_nodes(self.graph, self.names)
        declared = [(self.graph.input, ["n", self.graph.width], "FLOAT")]
        return _file(model, [*nodes, last], self.graph, used, declared, (output, ["n", self.width]))


def live_nodes(graph: PartGraph, wanted: Sequence[str]) -> tuple[list[Any], set[str]]:
    """Return the nodes that give some tensors, in order, and the names of all that is used."""
    used, nodes = set(wanted), []
    for node in reversed(graph.nodes):
        if used & set(node.output):
            nodes.append(node)
            used |= {*node.input, *outer_names(node)}
    return nodes[::-1], used


def needed_columns(pieces: Sequence[Piece], layout: Layout) -> tuple[int, ...]:
    """Return the columns of a side that the pair part reads, in the order in which it gets them."""
    return tuple(sorted({place for piece in pieces for place in layout.places(piece.name)}))


def pair_file(
    graphs: Graphs, scores: str, layouts: dict[Side, Layout], needed: Sequence[int], model: Any
) -> tuple[bytes, set[str]]:
    """Return the ONNX file of the pair part, and the names of all that is used in it."""
    make = onnx_package().helper.make_node
    pair = graphs.pair
    nodes, used = live_nodes(pair, [scores])
    before = []
    inputs: dict[str, tuple[list[Any], str]] = {}
    for piece in (piece for name, piece in graphs.pieces.items() if name in used):
        places = layouts[piece.side].places(piece.name)
        source, width = REQUEST_PART, layouts[piece.side].width
        if piece.side is Side.PRODUCT:
            source, width = PRODUCT_PART, len(needed)
            places = [needed.index(place) for place in places]
        inputs[source] = (["r" if source == REQUEST_PART else "n", width], "FLOAT")
        selected = piece.placeholder if piece.side is Side.PRODUCT else f"{piece.placeholder}/request"
        before += _selection(pair, make, source, width, places, selected)
        if piece.side is Side.REQUEST:
            before.append(make("Gather", [selected, ROW_REQUEST], [piece.placeholder], axis=0))
            used.add(ROW_REQUEST)
    if ROW_REQUEST in used:
        inputs[ROW_REQUEST] = (["n"], "INT64")
    if PAIR_COLUMNS in used:
        inputs[PAIR_COLUMNS] = (["n", pair.width], "FLOAT")
    if TREES in used:
        inputs[TREES] = (["n", pair.shape(TREES)[1]], "FLOAT")
    used |= {name for node in before for name in node.input}
    last = make("Identity", [scores], [SCORES])
    kind = "DOUBLE" if pair.dtype(scores) == np.float64 else "FLOAT"
    declared = [(name, *typed) for name, typed in inputs.items()]
    return _file(model, [*before, *nodes, last], pair, used, declared, (SCORES, ["n"]), kind), used


def _selection(pair: PartGraph, make: Any, source: str, width: int, places: list[int], into: str) -> list[Any]:
    if places == list(range(width)):
        return [make("Identity", [source], [into])]
    if places == list(range(places[0], places[-1] + 1)):
        bounds = [pair.integers([value]) for value in (places[0], places[-1] + 1, 1)]
        return [make("Slice", [source, *bounds], [into])]
    return [make("Gather", [source, pair.integers(places)], [into], axis=1)]


def _file(
    model: Any,
    nodes: list[Any],
    graph: PartGraph,
    used: set[str],
    inputs: Sequence[tuple[str, list[Any], str]],
    output: tuple[str, list[Any]],
    kind: str = "FLOAT",
) -> bytes:
    onnx = onnx_package()

    def declare(name: str, shape: list[Any], kind: str) -> Any:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DataType.Value(kind), shape)

    constants = [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items() if name in used]
    made = onnx.helper.make_graph(
        nodes, f"{PREFIX}{graph.side}", [declare(*one) for one in inputs], [declare(*output, kind)], constants
    )
    file = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=made)
    file.producer_name = "ranker"
    return bytes(file.SerializeToString())
