"""Abstract interpretation: each operation of a graph, done as early as what it takes allows.

Owns which way is tried for an operation: part by part, on one side, or in the pair part. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ranker.importing.graph_file import onnx_package
from ranker.importing.splitting.graphs import Graphs
from ranker.importing.splitting.notes import Notes, sides_of, why_paired
from ranker.importing.splitting.operations import elementwise, ensembles, linear, moves, places, products, row_wise
from ranker.importing.splitting.operations.ensembles import Column, TreeColumns
from ranker.importing.splitting.operations.products import Blocks
from ranker.importing.splitting.reading import SCORE, Graph, outer_names
from ranker.importing.splitting.rounding import has_steps
from ranker.importing.splitting.trial import Trial
from ranker.importing.splitting.values import (
    ROWS,
    Abstract,
    Constant,
    Counted,
    Fact,
    Opaque,
    Part,
    Unsplittable,
    Value,
    last_axis,
    single,
)
from ranker.scoring.graph.inputs import ModelInput
from ranker.scoring.split.parts import Side


class Interpreter:
    """Goes through a graph.

    Args:
        graph: To be split.
        trial: What its tensors are.
        widths: How many columns each side has.
        trees: Output of the ensemble that is not to be a node; None for none.
        reasons: Why others must be nodes, by their outputs.

    Attributes:
        graphs: What has been made.
        trees: The columns of that ensemble, once it was met.
        notes: What the pair part does of the graph.
        refusal: Why it must be a node all the same; empty where it need not.
    """

    def __init__(
        self,
        graph: Graph,
        trial: Trial,
        widths: dict[Side, int],
        trees: str | None = None,
        reasons: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._reasons = reasons
        self.graphs = Graphs(widths)
        self.trees: TreeColumns | None = None
        self.refusal = ""
        self._graph = graph
        self._trial = trial
        self._wanted = trees
        self._known: dict[str, Abstract] = {name: Constant(array) for name, array in graph.constants.items()}
        self.notes = Notes()
        self._resummed: set[str] = set()
        """What comes of sums of several sides, which are made in another order than the whole graph's."""

    def take_inputs(self, inputs: Sequence[ModelInput], matrix: Sequence[Column]) -> None:
        """Say whose columns the inputs of the graph are."""
        for one in inputs:
            parts: list[Part] = []
            taken = list(matrix[one.columns])
            starts = [i for i, (side, _) in enumerate(taken) if not i or taken[i - 1][0] is not side]
            for start, stop in zip(starts, [*starts[1:], len(taken)], strict=True):
                side = taken[start][0]
                graph = self.graphs.of[side]
                name = graph.cast(graph.columns([column for _, column in taken[start:stop]]), one.dtype)
                parts.append(Part(stop - start, {side: name}))
            self._known[one.name] = Value((ROWS, one.width), one.dtype, 1, tuple(parts))

    def run(self) -> str:
        """Go through the graph, and return the name of the scores in the pair's."""
        for node in self._graph.nodes:
            facts = [self._trial.facts[name] if name else Fact(None, None) for name in node.output]
            results = self._do(node, facts)
            self._known.update((n, r) for n, r in zip(node.output, results, strict=True) if n and r is not None)
            self._follow_sums(node, results)
        return self.graphs.whole(self._known[SCORE], Side.PAIR)

    def _follow_sums(self, node: Any, results: Sequence[Abstract | None]) -> None:
        """Note what comes of sums that are made in another order, and operations with steps that take such."""
        sums = (len(part.terms) > 1 for one in results if isinstance(one, Value) for part in one.parts)
        if any(name in self._resummed for name in (*node.input, *outer_names(node))):
            if has_steps(node, self._trial.facts.get(node.input[0], Fact(None, None))):
                self.notes.note_steps(results)
        elif not any(sums):
            return
        self._resummed.update(node.output)

    def _do(self, node: Any, facts: list[Fact]) -> Sequence[Abstract | None]:
        inputs = [self._known[name] if name else None for name in node.input]
        outer = outer_names(node)
        known = [*inputs, *(self._known[name] for name in outer)]
        if node.op_type in ("Shape", "Size") and isinstance(inputs[0], Value):
            known = []
        if not any(isinstance(one, Value | Opaque) for one in known) and (counted := self._count(node)) is not None:
            return counted
        try:
            if outer:
                raise Unsplittable("it has a body of its own, which is left as it is")
            if any(isinstance(one, Opaque) for one in inputs):
                raise Unsplittable("it takes what only the pair part has")
            return self._split(node, inputs, facts)
        except Unsplittable as err:
            if self._wanted in node.output:
                self.refusal = str(err)
            return self._in_pair(node, inputs, facts, outer, str(err))

    def _count(self, node: Any) -> list[Abstract | None] | None:
        found: list[Abstract | None] = []
        for name in node.output:
            if not name:
                found.append(None)
                continue
            counted = self._trial.counted(name)
            if isinstance(counted, np.ndarray):
                shape, dtype = self._trial.facts[name].known
                axis = last_axis(shape)
                found.append(Value(shape, dtype, axis, (Part(shape[axis], constant=counted),)))
            elif counted is None:
                return None
            else:
                found.append(counted)
        return found

    def _split(self, node: Any, inputs: list[Abstract | None], facts: list[Fact]) -> Sequence[Abstract | None]:
        attributes = self._attributes(node)
        if self._wanted is not None and self._wanted in node.output:
            return self._as_trees(node, inputs, facts)
        try:
            if (results := self._by_parts(node, inputs, facts, attributes)) is not None:
                return results
        except Unsplittable:
            sides = sides_of(inputs)
            if len(sides) > 1:
                row_wise.check(node, inputs, facts, attributes, self._graph.opset)
                raise
        row_wise.check(node, inputs, facts, attributes, self._graph.opset)
        sides = sides_of(inputs)
        if len(sides) != 1 or Side.PAIR in sides:
            raise Unsplittable(why_paired(sides))
        (side,) = sides
        return self._clone(node, side, inputs, facts)

    def _by_parts(
        self, node: Any, inputs: list[Abstract | None], facts: list[Fact], attributes: dict[str, Any]
    ) -> Sequence[Abstract] | None:
        """Do an operation by what it means; None where it must be done as it is."""
        if node.domain not in ("", "ai.onnx", "com.microsoft"):
            return None
        operator, value, fact = node.op_type, inputs[0], facts[0]
        shape, _ = fact.known
        if operator == "Concat":
            return [moves.concat(self.graphs, inputs, fact, attributes)]
        if operator == "MatMul" and isinstance(inputs[1], Constant):
            return self.notes.note(node, inputs, [linear.multiply(self.graphs, inputs, fact)])
        if operator == "MatMul" and products.fits(inputs):
            return self._by_blocks(node, inputs, facts)
        if operator in row_wise.ELEMENTWISE:
            if isinstance(value, Value) and operator in ("Identity", "Cast") and value.dtype == fact.dtype:
                return [value]
            result, paired = elementwise.apply(self.graphs, node, inputs, fact)
            return self.notes.note(node, inputs, [result]) if paired else [result]
        if (placed := places.by_place(self.graphs, node, inputs, facts, attributes)) is not None:
            return placed
        if not isinstance(value, Value):
            return None
        if operator in row_wise.MOVES and all(isinstance(one, Constant | Counted | None) for one in inputs[1:]):
            moved = moves.reshape(self.graphs, value, shape)
            return [products.flatten(value, moved) if isinstance(value, Blocks) and len(shape) == 2 else moved]
        if operator == "Transpose":
            order = attributes.get("perm") or list(reversed(range(len(shape))))
            return [moves.transpose(self.graphs, value, order)]
        if operator == "Expand" or (operator == "Tile" and moves.tiled(inputs)):
            return [moves.expand(self.graphs, value, shape)]
        if operator in ("ReduceSum", "ReduceMean") and len(value.sides) > 1:
            return self.notes.note(node, inputs, [linear.reduce(self.graphs, node, inputs, fact, attributes)])
        return None

    def _by_blocks(self, node: Any, inputs: list[Abstract | None], facts: list[Fact]) -> list[Abstract]:
        """Multiply what the sides give with each other; what of it the pair part does is noted."""
        left, right = inputs
        assert isinstance(left, Value)
        assert isinstance(right, Value)
        row_wise.check(node, inputs, facts, {}, self._graph.opset)
        (whole,) = self.notes.note(node, inputs, self._clone(node, Side.PAIR, inputs, facts))
        blocks = products.cut(self.graphs, left, right, whole)
        self.notes.note(node, inputs, [Opaque(name) for side, name in blocks.names.values() if side is Side.PAIR])
        return [blocks]

    def _as_trees(self, node: Any, inputs: list[Abstract | None], facts: list[Fact]) -> list[Abstract | None]:
        self.trees, result = ensembles.look(self.graphs, node, inputs[0], facts[-1])
        return [*([None] * (len(facts) - 1)), result]

    def _clone(
        self, node: Any, side: Side, inputs: Sequence[Abstract | None], facts: list[Fact], opaque: bool = False
    ) -> list[Abstract]:
        names = [self.graphs.whole(one, side) if one is not None else "" for one in inputs]
        made = self.graphs.clone(node, side, names, facts, [bool(name) for name in node.output])
        results: list[Abstract] = []
        for name, fact in zip(made, facts, strict=True):
            if opaque or fact.shape is None or fact.dtype is None:
                results.append(Opaque(name))
            else:
                results.append(single(fact.shape, fact.dtype, {side: name}))
        return results

    def _in_pair(
        self, node: Any, inputs: list[Abstract | None], facts: list[Fact], outer: list[str], reason: str
    ) -> list[Abstract]:
        for name in outer:
            self.graphs.pair.bind(name, self.graphs.whole(self._known[name], Side.PAIR))
        opaque = bool(outer) or any(isinstance(one, Opaque) for one in inputs)
        if not opaque:
            try:
                row_wise.check(node, inputs, facts, self._attributes(node), self._graph.opset)
            except Unsplittable:
                opaque = True
        results = self._clone(node, Side.PAIR, inputs, facts, opaque)
        reason = self._reasons.get(node.output[-1], reason)
        return self.notes.note(node, inputs, results, reason)

    def _attributes(self, node: Any) -> dict[str, Any]:
        value_of = onnx_package().helper.get_attribute_value
        return {one.name: value_of(one) for one in node.attribute}
