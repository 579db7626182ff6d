"""Formula as nodes: each operator in double precision over columns (n,).

Owns which operators of ONNX an expression becomes. Knows nothing of where its terms come from.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ranker.importing.formula import Expression, Formula, Number, Operation, Term
from ranker.importing.writer import GraphWriter

OLDEST_OPSET = 13
"""First opset with all the operators that formulas become."""
_ONE_TO_ONE = {
    "+": "Add",
    "-": "Sub",
    "*": "Mul",
    "/": "Div",
    "**": "Pow",
    "<": "Less",
    "<=": "LessOrEqual",
    ">": "Greater",
    ">=": "GreaterOrEqual",
    "==": "Equal",
    "neg": "Neg",
    "min": "Min",
    "max": "Max",
    "abs": "Abs",
    "log": "Log",
    "exp": "Exp",
    "sqrt": "Sqrt",
    "sigmoid": "Sigmoid",
}
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


def write_formula(writer: GraphWriter, formula: Formula, values: Mapping[Term, str]) -> str:
    """Write the nodes of a formula.

    Args:
        writer: Where to; for a graph of `OLDEST_OPSET` or newer.
        formula: What.
        values: The tensor (n,) of double for each term.

    Returns:
        The tensor of the result, (n,) of double.
    """
    return _Nodes(writer, values).number(formula.expression)


class _Nodes:
    def __init__(self, writer: GraphWriter, values: Mapping[Term, str]) -> None:
        self._writer = writer
        self._values = values

    def number(self, expression: Expression) -> str:
        """Return the value of an expression; of a comparison, 1 or 0."""
        match expression:
            case Number(value=value):
                return self._writer.constant(value, np.float64)
            case Term():
                return self._values[expression]
            case Operation(operator=operator) if operator in _COMPARISONS:
                return self._writer.cast(self._truth(expression), "double")
        return self._operation(expression)

    def _operation(self, operation: Operation) -> str:
        match operation.operator, operation.operands:
            case "where", (condition, yes, no):
                return self._writer.node("Where", self._truth(condition), self.number(yes), self.number(no))
            case "clip", (value, least, most):
                at_least = self._writer.node("Max", self.number(value), self.number(least))
                return self._writer.node("Min", at_least, self.number(most))
            case "log1p", (value,):
                one = self._writer.constant(1, np.float64)
                return self._writer.node("Log", self._writer.node("Add", self.number(value), one))
        return self._writer.node(_ONE_TO_ONE[operation.operator], *map(self.number, operation.operands))

    def _truth(self, expression: Expression) -> str:
        """Return whether an expression holds: a comparison, or any number but 0."""
        if isinstance(expression, Operation) and expression.operator in _COMPARISONS:
            operands = map(self.number, expression.operands)
            if expression.operator == "!=":
                return self._writer.node("Not", self._writer.node("Equal", *operands))
            return self._writer.node(_ONE_TO_ONE[expression.operator], *operands)
        return self._writer.cast(self.number(expression), "bool")
