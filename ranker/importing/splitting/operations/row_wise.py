"""Row-wise operations: those that give each row what they would give it alone, wherever its axis lies.

Owns the list of operators known to be so, and the axes that they must leave alone. What is not listed is not moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranker.importing.splitting.operations import axis_rules
from ranker.importing.splitting.values import ROWS, Abstract, Fact, Shape, Unsplittable, Value

_ELEMENTWISE = (
    "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu "
    "Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN "
    "LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow QuickGelu Reciprocal Relu Round "
    "Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor"
)
_OVER_FIRST_AXIS = (
    "AveragePool BatchNormalization Conv GlobalAveragePool GlobalMaxPool GroupNormalization InstanceNormalization LRN "
    "MaxPool"
)
_OF_ML = (
    "ArrayFeatureExtractor Binarizer CategoryMapper FeatureVectorizer Imputer LabelEncoder LinearClassifier "
    "LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsemble TreeEnsembleClassifier "
    "TreeEnsembleRegressor"
)
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
"""Operators of the standard set, and of ONNX Runtime's own, that give each element what its own elements give."""
_FIRST_AXIS = frozenset(_OVER_FIRST_AXIS.split())
_TREES_AND_KIN = frozenset(_OF_ML.split())
_RECURRENT = frozenset(("GRU", "LSTM", "RNN"))
MOVES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def check(
    node: Any, inputs: Sequence[Abstract | None], facts: Sequence[Fact], attributes: Mapping[str, Any], opset: int
) -> None:
    """See that an operation is row-wise.

    Args:
        node: The operation.
        inputs: What it takes.
        facts: What it gives.
        attributes: What the node has, by name.
        opset: Version of the standard operators.

    Raises:
        Unsplittable: it is not, or not known to be.
    """
    if any(fact.shape is None for name, fact in zip(node.output, facts, strict=True) if name):
        raise Unsplittable("its result has no axis of rows, or lengths that vary")
    shape = next(fact.shape for fact in facts if fact.shape is not None)
    values = [value for value in inputs if isinstance(value, Value)]
    operator = node.op_type
    if node.domain == "ai.onnx.ml":
        good = operator in _TREES_AND_KIN and all(value.rows == 0 for value in values) and shape[0] == ROWS
    elif node.domain not in ("", "ai.onnx", "com.microsoft"):
        good = False
    elif operator in ELEMENTWISE:
        good = all(axis_rules.aligned(value, shape) for value in values)
    elif operator in (*MOVES, "Expand"):
        (value, *others) = inputs
        keeps = axis_rules.aligned if operator == "Expand" else lambda before, after: keeps_rows(before.shape, after)
        good = isinstance(value, Value) and axis_rules.all_constant(others) and keeps(value, shape)
    elif operator in _FIRST_AXIS:
        good = len(values) == 1 and values[0] is inputs[0] and values[0].rows == 0
    elif operator in _RECURRENT:
        good = _is_recurrent_over_rows(inputs, attributes)
    else:
        rule = axis_rules.RULES.get(operator)
        good = rule is not None and rule(inputs, shape, attributes, opset)
    if not good:
        raise Unsplittable("it is not known to give each row what that row alone would")


def keeps_rows(before: Shape, after: Shape) -> bool:
    """Whether giving other axes leaves each row's elements together, in their order."""
    return _prefix(before, before.index(ROWS)) == _prefix(after, after.index(ROWS))


def _prefix(shape: Shape, axis: int) -> int:
    return int(np.prod(shape[:axis], dtype=np.int64))


def _is_recurrent_over_rows(inputs: Sequence[Abstract | None], attributes: Mapping[str, Any]) -> bool:
    rows = {0: 1, 4: 0, 5: 1, 6: 1} if not attributes.get("layout") else {0: 0, 4: 0, 5: 0, 6: 0}
    return all(not isinstance(value, Value) or (i in rows and value.rows == rows[i]) for i, value in enumerate(inputs))
