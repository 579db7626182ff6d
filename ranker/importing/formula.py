"""Formula: the schema's `score:`, an expression over outputs of the graph and features, read without running anything.

Owns the grammar, which is a small part of Python's: numbers, names, + - * / **, comparisons, and the functions of
`FUNCTIONS`. Knows nothing of graphs; a name is looked up by whoever has them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from ranker.errors import ModelRejected

FUNCTIONS: dict[str, tuple[int, int]] = {
    "min": (2, 8),
    "max": (2, 8),
    "abs": (1, 1),
    "log": (1, 1),
    "log1p": (1, 1),
    "exp": (1, 1),
    "sqrt": (1, 1),
    "sigmoid": (1, 1),
    "where": (3, 3),
    "clip": (3, 3),
}
"""Functions, and how many arguments each takes, at least and at most."""
MAX_DEPTH = 40
_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True, slots=True)
class Term:
    """A name: of an output or a feature, with a class or column where one is said.

    Attributes:
        name: Such as `ctr`, `product.price`, or any text in quotes.
        column: What stands in brackets behind it.
    """

    name: str
    column: str | None = None

    @property
    def index(self) -> int | None:
        """The column as a number; None where it is none."""
        return int(self.column) if self.column is not None and self.column.isdecimal() else None

    def __str__(self) -> str:
        return self.name if self.column is None else f"{self.name}[{self.column}]"


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator or function and what it is applied to; the operator `neg` is a minus before its one operand."""

    operator: str
    operands: tuple[Expression, ...]


Expression = Number | Term | Operation


@dataclass(frozen=True, slots=True)
class Formula:
    """An expression that was read.

    Attributes:
        text: As the schema has it.
        expression: What it says.
    """

    text: str
    expression: Expression

    @property
    def terms(self) -> list[Term]:
        """The names in it, each once, in order."""
        return list(dict.fromkeys(_terms(self.expression)))


def parse(text: str) -> Formula:
    """Read a formula.

    Raises:
        ModelRejected: it is none, naming the place.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        raise ModelRejected(f"The schema's `score: {text}` cannot be read: {str(err).partition(' (')[0]}.") from err
    formula = Formula(text, _Reader(text).read(tree.body, 0))
    if not formula.terms:
        raise ModelRejected(
            f"The schema's `score: {text}` names no output of the graph, and would be one for all rows."
        )
    return formula


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text.strip()

    def read(self, node: ast.expr, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise ModelRejected(f"The schema's `score:` is nested more than {MAX_DEPTH} deep.")
        match node:
            case ast.Constant(value=bool()):
                raise self._refused(node, "write 1 or 0")
            case ast.Constant(value=int() | float() as value):
                return Number(self._finite(node, value))
            case ast.Name() | ast.Attribute() | ast.Constant(value=str()) | ast.Subscript():
                return self._term(node)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                inner = self.read(operand, depth + 1)
                return Operation("neg", (inner,)) if isinstance(sign, ast.USub) else inner
            case ast.BinOp(op=operator) if type(operator) in _ARITHMETIC:
                operands = (self.read(node.left, depth + 1), self.read(node.right, depth + 1))
                return Operation(_ARITHMETIC[type(operator)], operands)
            case ast.Compare(ops=[operator], comparators=[right]) if type(operator) in _COMPARISONS:
                operands = (self.read(node.left, depth + 1), self.read(right, depth + 1))
                return Operation(_COMPARISONS[type(operator)], operands)
            case ast.Compare():
                raise self._refused(node, "compare two values at a time")
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
                return self._call(node, name, arguments, depth)
        raise self._refused(node, f"it knows numbers, names, + - * / **, comparisons and {', '.join(FUNCTIONS)}")

    def _call(self, node: ast.expr, name: str, arguments: list[ast.expr], depth: int) -> Operation:
        least, most = FUNCTIONS[name]
        if not least <= len(arguments) <= most:
            count = f"{least} arguments" if least == most else f"{least} to {most} arguments"
            raise self._refused(node, f"{name} takes {count.removesuffix('s') if most == 1 else count}")
        return Operation(name, tuple(self.read(argument, depth + 1) for argument in arguments))

    def _term(self, node: ast.expr) -> Term:
        match node:
            case ast.Name(id=name) | ast.Constant(value=str() as name):
                return Term(name)
            case ast.Attribute(value=ast.Name(id=group), attr=name):
                return Term(f"{group}.{name}")
            case ast.Subscript(value=value, slice=ast.Name(id=column) | ast.Constant(value=str() | int() as column)):
                return Term(self._term(value).name, str(column))
        raise self._refused(node, "a name is that of an output, a feature, group.feature, or NAME[class or column]")

    def _finite(self, node: ast.expr, value: float) -> float:
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
        if number in (float("inf"), float("-inf")):
            raise self._refused(node, "the number is too large")
        return number

    def _refused(self, node: ast.expr, why: str) -> ModelRejected:
        place = ast.get_source_segment(self._text, node) or self._text
        return ModelRejected(f"The schema's `score: {self._text}` cannot be taken at {place}: {why}.")


def _terms(expression: Expression) -> Iterator[Term]:
    if isinstance(expression, Term):
        yield expression
    elif isinstance(expression, Operation):
        for operand in expression.operands:
            yield from _terms(operand)
