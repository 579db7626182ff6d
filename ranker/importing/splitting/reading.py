"""Reading: an ONNX file as plain nodes and constants, with functions put in place and what is constant computed.

Owns the form in which a graph is split. Knows nothing of sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ranker.errors import ImportPackageMissing, ModelFailed, ModelRejected
from ranker.importing.graph_file import onnx_package, opset_of, read_graph, to_opset
from ranker.importing.splitting.part_graph import PREFIX
from ranker.importing.splitting.values import Array, Unsplittable
from ranker.importing.weights import MOST_IN_ONE
from ranker.scoring.graph.output import ModelOutput
from ranker.scoring.session import Session

OLDEST_OPSET, OWN_OPSET = 10, 17
"""Opsets: the oldest whose operators are written as they are, and the one that older graphs are brought to."""
SCORE = f"{PREFIX}score"
_BY_CHANCE = frozenset(("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"))


@dataclass
class Graph:
    """A graph to be split.

    Attributes:
        nodes: In the order that they run.
        constants: By their names.
        model: All that remains: inputs, opsets.
        opset: Version of the standard operators.
    """

    nodes: list[Any]
    constants: dict[str, Array]
    model: Any
    opset: int

    def constant(self, array: Array) -> str:
        """Add a constant."""
        number = len(self.constants)
        while (name := f"{PREFIX}given{number}") in self.constants:  # since then some were dropped
            number += 1
        self.constants[name] = array
        return name

    def to_bytes(self, outputs: list[str]) -> bytes:
        """Return an ONNX file of all nodes with these outputs."""
        onnx = onnx_package()
        graph = onnx.GraphProto(name="whole", node=self.nodes, input=self.model.graph.input)
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in self.constants.items())
        model = onnx.ModelProto(ir_version=self.model.ir_version, opset_import=self.model.opset_import, graph=graph)
        return bytes(model.SerializeToString())


def read(content: bytes, output: ModelOutput, folder: Path | None) -> Graph:
    """Read a graph whose last output, `SCORE`, is (n,).

    Raises:
        Unsplittable: it is of a kind that is not taken apart.
        ImportPackageMissing: onnx or onnx_ir is not installed.
    """
    onnx = onnx_package()
    try:
        model = read_graph(content)
        if folder is not None:
            onnx.load_external_data_for_model(model, str(folder))
        if opset_of(model) < OLDEST_OPSET:
            model = to_opset(model, OWN_OPSET)
    except ModelRejected as err:
        raise Unsplittable(f"the graph has opset {opset_of(model)}, and {OLDEST_OPSET} is the oldest") from err
    if model.graph.sparse_initializer:
        raise Unsplittable("the graph has sparse weights")
    model = _tidy(model)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    if sum(array.nbytes for array in constants.values()) > MOST_IN_ONE:
        raise Unsplittable("its weights are more than one file holds, which a part would be")
    graph = Graph(list(model.graph.node), constants, model, opset_of(model))
    _fold(graph)
    _append_score(graph, output)
    _drop_unused(graph)
    return graph


def outer_names(node: Any) -> list[str]:
    """Return the names that the bodies of a node (If, Loop, Scan) look for outside of themselves."""
    found: dict[str, None] = {}
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            own = {one.name for one in (*body.input, *body.initializer)}
            for inner in body.node:
                for name in (*inner.input, *outer_names(inner)):
                    if name and name not in own:
                        found[name] = None
                own |= set(inner.output)
            found |= {one.name: None for one in body.output if one.name not in own}
    return list(found)


def _tidy(model: Any) -> Any:
    """Put functions in place, make constants of Constant nodes, drop what is unused and what is there twice."""
    try:
        import onnx_ir
        from onnx_ir.passes import common
    except ImportError as err:
        raise ImportPackageMissing(str(err)) from err
    tidy = onnx_ir.passes.Sequential(
        common.InlinePass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.TopologicalSortPass(),
    )
    return onnx_ir.to_proto(tidy(onnx_ir.from_proto(model)).model)


def _fold(graph: Graph) -> None:
    """Compute the nodes all of whose inputs are constants."""
    known = set(graph.constants)
    folded, others = [], []
    for node in graph.nodes:
        inputs = {name for name in node.input if name}
        plain = node.op_type not in _BY_CHANCE and not any(a.HasField("g") or a.graphs for a in node.attribute)
        if plain and inputs <= known:
            folded.append(node)
            known |= {name for name in node.output if name}
        else:
            others.append(node)
    if not folded:
        return
    names = [name for node in folded for name in node.output if name]
    part = Graph(folded, {n: graph.constants[n] for node in folded for n in node.input if n in graph.constants},
                 onnx_package().ModelProto(ir_version=graph.model.ir_version, opset_import=graph.model.opset_import),
                 graph.opset)  # fmt: skip
    try:
        arrays = Session(part.to_bytes(names)).run(names, {}, 0)
    except (ModelFailed, ModelRejected) as err:
        raise Unsplittable(f"what is constant in the graph cannot be computed: {err}") from err
    if not all(isinstance(array, np.ndarray) for array in arrays):
        raise Unsplittable("the graph computes with constants that are no tensors")
    graph.nodes = others
    graph.constants |= dict(zip(names, arrays, strict=True))


def _drop_unused(graph: Graph) -> None:
    """Drop nodes that the score does not need."""
    needed, kept = {SCORE}, []
    for node in reversed(graph.nodes):
        if needed & set(node.output):
            needed |= {*node.input, *outer_names(node)}
            kept.append(node)
    graph.nodes = kept[::-1]
    graph.constants = {name: array for name, array in graph.constants.items() if name in needed}


def _append_score(graph: Graph, output: ModelOutput) -> None:
    make = onnx_package().helper.make_node
    name = output.name
    if output.column is None:
        graph.nodes.append(make("Reshape", [name, graph.constant(np.array([-1]))], [SCORE]))
        return
    shape, column = graph.constant(np.array([-1, output.columns])), graph.constant(np.array(output.column))
    graph.nodes.append(make("Reshape", [name, shape], [f"{PREFIX}classes"]))
    graph.nodes.append(make("Gather", [f"{PREFIX}classes", column], [SCORE], axis=1))
