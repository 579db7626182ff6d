"""Axis rules: when an operation over axes leaves that of the rows alone.

Owns one rule for each operator that works over axes. Each takes the inputs, the shape of the result, the attributes and
the version of the standard operators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ranker.importing.splitting.values import ROWS, Abstract, Constant, Counted, Shape, Unsplittable, Value

_REDUCING = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
)
_OVER_AXIS = {"Softmax": 1, "LogSoftmax": 1, "Hardmax": 1, "ArgMax": 0, "ArgMin": 0, "TopK": -1, "LpNormalization": -1}
"""Operators over one axis, and which where they do not say."""


def aligned(value: Value, shape: Shape) -> bool:
    """Whether the rows of a value lie, right-aligned, where a shape has them."""
    return value.rows - len(value.shape) == shape.index(ROWS) - len(shape)


def axes_of(inputs: Sequence[Abstract | None], attributes: Mapping[str, Any], rank: int, at: int = 1) -> list[int]:
    """Return the axes that an operation names by an attribute or an input, none of them negative; none: all."""
    axes = attributes.get("axes")
    if len(inputs) > at and inputs[at] is not None:
        given = inputs[at]
        if not isinstance(given, Constant):
            raise Unsplittable("its axes are computed")
        axes = given.array.reshape(-1).tolist()
    if not axes:
        return [] if attributes.get("noop_with_empty_axes") else list(range(rank))
    return sorted(int(axis) % rank for axis in axes)


def _axis(value: Value, attributes: Mapping[str, Any], default: int) -> int:
    return int(attributes.get("axis", default)) % len(value.shape)


def _reduces_others(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    (value, *_) = inputs
    return isinstance(value, Value) and value.rows not in axes_of(inputs, attributes, len(value.shape))


def _over_axis(operator: str) -> Callable[..., bool]:
    def rule(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
        (value, *others) = inputs
        if not isinstance(value, Value) or any(isinstance(other, Value) for other in others):
            return False
        flattens = operator in ("Softmax", "LogSoftmax", "Hardmax")
        axis = _axis(value, attributes, -1 if flattens and opset >= 13 else _OVER_AXIS[operator])
        return value.rows < axis if flattens and opset < 13 else value.rows != axis

    return rule


def _cum_sum(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    (value, axis) = inputs
    return (
        isinstance(value, Value)
        and isinstance(axis, Constant)
        and int(axis.array.reshape(-1)[0]) % len(value.shape) != value.rows
    )


def _layer_norm(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    (value, *others) = inputs
    return isinstance(value, Value) and value.rows < _axis(value, attributes, -1) and all_constant(others)


def _concat(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    return all(
        isinstance(v, Value) and v.rows == shape.index(ROWS) and _axis(v, attributes, 0) != v.rows for v in inputs
    )


def _split(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    (value, *others) = inputs
    return isinstance(value, Value) and _axis(value, attributes, 0) != value.rows and all_constant(others)


def _gather(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    data, index = inputs
    if isinstance(data, Value):
        return isinstance(index, Constant) and _axis(data, attributes, 0) != data.rows
    return isinstance(data, Constant) and isinstance(index, Value)


def _gather_elements(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    return all(
        isinstance(v, Value) and v.rows == shape.index(ROWS) and _axis(v, attributes, 0) != v.rows for v in inputs
    )


def _mat_mul(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    left, right = inputs
    rank = len(shape)
    if isinstance(left, Value) and isinstance(right, Value):
        batch = shape.index(ROWS) < rank - 2
        return batch and all(aligned(v, shape) and len(v.shape) > 2 and v.rows < len(v.shape) - 2 for v in inputs)
    if isinstance(left, Value):
        return isinstance(right, Constant) and left.rows < len(left.shape) - 1
    return isinstance(left, Constant) and right.rows != max(len(right.shape) - 2, 0)


def _gemm(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    (left, *others) = inputs
    return isinstance(left, Value) and not attributes.get("transA") and all_constant(others)


def _einsum(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    equation = attributes["equation"].decode().replace(" ", "")
    if "->" not in equation or "." in equation:
        return False
    left, _, right = equation.partition("->")
    rows = right[shape.index(ROWS)]
    return all(
        (isinstance(v, Value) and letters.find(rows) == v.rows and letters.count(rows) == 1)
        or (isinstance(v, Constant) and rows not in letters)
        for v, letters in zip(inputs, left.split(","), strict=True)
    )


def _keeps_rows_whole(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    """Slice, Pad, Tile, OneHot and Transpose: of one value; the trial has seen that its rows are all there."""
    (value, *others) = inputs
    return isinstance(value, Value) and all_constant(others)


def _slice(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    (value, starts, _, *others) = inputs
    if not isinstance(value, Value) or not all_constant(inputs[1:]):
        return False
    axes = axes_of(inputs, attributes, len(value.shape), at=3)
    if not others or others[0] is None:
        axes = list(range(len(starts.array)))
    if value.rows not in axes:
        return True
    at = [int(a) % len(value.shape) for a in others[0].array.tolist()].index(value.rows) if others else value.rows
    step = int(others[1].array[at]) if len(others) > 1 else 1
    return int(starts.array[at]) == 0 and step == 1


def _one_hot(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    (value, *others) = inputs
    axis = int(attributes.get("axis", -1)) % len(shape)
    return isinstance(value, Value) and all_constant(others) and axis != shape.index(ROWS)


def _pad(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    (value, pads, *others) = inputs
    if not isinstance(value, Value) or not all_constant([pads, *others[:1]]) or len(others) > 1:
        return False
    ends = pads.array.reshape(2, -1)
    return bool(ends.shape[1] == len(value.shape) and not ends[:, value.rows].any())


def _tile(inputs: Any, shape: Shape, attributes: Mapping[str, Any], opset: int) -> bool:
    (value, repeats) = inputs
    return isinstance(value, Value) and isinstance(repeats, Constant) and int(repeats.array[value.rows]) == 1


def all_constant(inputs: Sequence[Abstract | None]) -> bool:
    """Whether inputs are the same for all rows, or depend on nothing but their number."""
    return all(value is None or isinstance(value, Constant | Counted) for value in inputs)


RULES: dict[str, Callable[..., bool]] = {
    **dict.fromkeys(_REDUCING.split(), _reduces_others),
    **{operator: _over_axis(operator) for operator in _OVER_AXIS},
    "Concat": _concat,
    "CumSum": _cum_sum,
    "Einsum": _einsum,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "MatMul": _mat_mul,
    "OneHot": _one_hot,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Tile": _tile,
    "Transpose": _keeps_rows_whole,
}
