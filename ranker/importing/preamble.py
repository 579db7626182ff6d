"""Preamble: from the one matrix (n, F) float32 to whatever the inputs of a graph want to be.

Owns the nodes that take columns, put whole numbers together from digits, look up texts, and give shape and type. What
they do is what `vectors.feature.columns` has made, the other way round.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ranker.errors import ModelRejected
from ranker.importing.binding import Binding
from ranker.importing.layout import Located
from ranker.importing.writer import GraphWriter
from ranker.vectors.feature.kinds import DIGIT_BITS

GATHER_ELEMENTS_OPSET = 11
"""First opset with an operator that takes elements by an index of their own in each row."""


def put_before(model: Any, bindings: tuple[Binding, ...], width: int) -> str:
    """Let a graph take one matrix, of which its inputs are made.

    Args:
        model: The graph, which is changed.
        bindings: What fills each of its inputs.
        width: F.

    Returns:
        The name of the one input, (n, F) float32.
    """
    writer = GraphWriter(model)
    if _is_the_matrix(bindings, width):
        matrix = bindings[0].node.name
    else:
        matrix = writer.name("features")
        preamble = _Preamble(writer, matrix)
        for binding in bindings:
            preamble.fill(binding)
        writer.put_before()
    del model.graph.input[:]
    model.graph.input.append(writer.declare(matrix, "float", ["n", width]))
    if any(binding.shape.freed for binding in bindings):
        del model.graph.value_info[:]  # with the length that is no longer fixed
        for output in model.graph.output:
            if output.type.HasField("tensor_type"):
                output.type.tensor_type.ClearField("shape")
    return matrix


def whole_numbers(writer: GraphWriter, matrix: str, located: Located) -> str:
    """Put int64 together from digits, (n, size); the last has the sign."""
    digits, columns = located.feature.kind.digits, _elements(located)
    total = ""
    for i in range(digits):
        digit = writer.cast(writer.columns(matrix, columns[i::digits]), "int64")
        if i:
            digit = writer.node("Mul", digit, writer.constant(1 << (DIGIT_BITS * i), np.int64))
        total = writer.node("Add", total, digit) if total else digit
    return total


def _is_the_matrix(bindings: tuple[Binding, ...], width: int) -> bool:
    """Whether a graph's only input is all columns in their order."""
    (first, *others) = bindings
    if others or first.kind != "float" or first.shape.target != (-1, width) or first.aspect != "value":
        return False
    return [column for located in first.features for column in located.columns] == list(range(width))


class _Preamble:
    def __init__(self, writer: GraphWriter, matrix: str) -> None:
        self._writer = writer
        self._matrix = matrix
        self._first_row: str | None = None

    def fill(self, binding: Binding) -> None:
        """Write what becomes an input, under its name."""
        matrix = self._one_row() if binding.shape.rows in ("one", "bare") else self._matrix
        if binding.aspect == "value":
            tensor, kind = self._values(matrix, binding)
        else:
            tensor, kind = self._of_sequence(matrix, binding)
        if kind != binding.kind:
            tensor = self._writer.cast(tensor, binding.kind)
        self._writer.reshape(tensor, binding.shape.target, into=binding.node.name)

    def _one_row(self) -> str:
        if self._first_row is None:
            self._first_row = self._writer.node("Gather", self._matrix, self._writer.constant([0], np.int64), axis=0)
        return self._first_row

    def _values(self, matrix: str, binding: Binding) -> tuple[str, str]:
        """Return the values of all features side by side, (n, width), and the kind that they have."""
        if binding.kind == "string":
            parts = [self._texts(matrix, located) for located in binding.features]
            return self._side_by_side(parts), "string"
        if all(_is_plain(located) and not _is_arranged(located) for located in binding.features):
            return self._writer.columns(
                matrix, [c for located in binding.features for c in _elements(located)]
            ), "float"
        parts = []
        for located in binding.features:
            if _is_plain(located):
                plain = self._writer.columns(matrix, _elements(located))
                parts.append(self._writer.cast(self._arranged(matrix, located, plain, "float"), binding.kind))
            else:
                whole = self._arranged(matrix, located, whole_numbers(self._writer, matrix, located), "int64")
                parts.append(whole if binding.kind == "int64" else self._writer.cast(whole, binding.kind))
        return self._side_by_side(parts), binding.kind

    def _arranged(self, matrix: str, located: Located, values: str, kind: str) -> str:
        """Bring the elements of a sequence, (n, size), newest first and zeros behind, into the graph's order."""
        if not _is_arranged(located):
            return values
        writer, feature = self._writer, located.feature
        each = math.prod(feature.shape)
        if writer.opset < GATHER_ELEMENTS_OPSET:
            raise ModelRejected(
                f"The graph of opset {writer.opset} cannot be given {located.name} in another order than it is stored. "
                "Export it with opset_version=17 (target_opset in skl2onnx and onnxmltools)."
            )
        parts = np.divmod(np.arange(feature.size)[np.newaxis], each)
        place, within = (writer.constant(part, np.int64) for part in parts)
        count = writer.cast(writer.columns(matrix, [located.start]), "int64")
        empty = writer.node("Sub", writer.constant(feature.length or 0, np.int64), count)
        at = place if feature.padding != "front" else writer.node("Sub", place, empty)
        filled = writer.node("Less", at, count)
        if feature.padding == "front":
            filled = writer.node("Not", writer.node("Less", at, writer.constant(0, np.int64)))
        if feature.order == "oldest_first":
            at = writer.node("Sub", writer.node("Sub", count, writer.constant(1, np.int64)), at)
        zero = writer.constant(0, np.int64)
        source = writer.node("Add", writer.node("Mul", at, writer.constant(each, np.int64)), within)
        source = writer.node("Where", filled, source, zero)
        taken = writer.node("GatherElements", values, source, axis=1)
        return writer.node("Where", filled, taken, writer.cast(zero, kind))

    def _texts(self, matrix: str, located: Located) -> str:
        """Look up the texts of codes; a code beyond the vocabulary, or NaN, is an empty text."""
        vocabulary = list(located.feature.vocabulary or ())
        codes = self._arranged(matrix, located, self._writer.columns(matrix, _elements(located)), "float")
        zero, size = (self._writer.constant(value, np.float32) for value in (0, len(vocabulary)))
        least = self._writer.node("Not", self._writer.node("Less", codes, zero))
        known = self._writer.node("And", least, self._writer.node("Less", codes, size))
        index = self._writer.cast(self._writer.node("Where", known, codes, size), "int64")
        return self._writer.node("Gather", self._writer.texts([*vocabulary, ""]), index, axis=0)

    def _of_sequence(self, matrix: str, binding: Binding) -> tuple[str, str]:
        """Return which places of a sequence are filled, (n, L), or how many, (n, 1)."""
        (located,) = binding.features
        count = self._writer.node("Floor", self._writer.columns(matrix, [located.start]))
        if binding.aspect == "length":
            return count, "float"
        order = np.arange(located.feature.length or 0)
        if located.feature.padding == "front":
            order = order[::-1]
        places = self._writer.constant(order[np.newaxis], np.float32)
        return self._writer.node("Less", places, count), "bool"

    def _side_by_side(self, parts: list[str]) -> str:
        return parts[0] if len(parts) == 1 else self._writer.node("Concat", *parts, axis=1)


def _is_plain(located: Located) -> bool:
    """Whether each element is one column."""
    return located.feature.kind.digits == 1


def _is_arranged(located: Located) -> bool:
    """Whether the graph wants a sequence otherwise than it is stored."""
    return located.feature.order == "oldest_first" or located.feature.padding == "front"


def _elements(located: Located) -> list[int]:
    """Return the columns of a feature's elements, without that of a sequence's count."""
    return list(located.columns)[located.feature.is_sequence :]
