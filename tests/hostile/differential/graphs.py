"""Random graphs over slots: what of the features each input takes, and ONNX Runtime's own scores for their numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

from tests.hostile.differential.builder import DTYPES, Builder, Input, Numbers
from tests.hostile.differential.slots import WHOLE, Slot
from tests.support.models import tensor

FORMULAS = (
    "ctr * cvr",
    "ctr + cvr * abs(FEATURE) / (1 + abs(FEATURE))",
    "ctr + cvr * abs(FEATURE) / (1 + abs(FEATURE))",
    "where(ctr > 0.5, ctr + 1, cvr)",
    "log1p(ctr) - 2 * cvr ** 0.5",
    "max(ctr, cvr) - min(ctr, 0.3)",
)


DTYPES_OF = {
    "category": ["float32", "int64", "str", "int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64"],
    "bool": ["float32", "bool", "uint8", "int8"],
    "float16": ["float16", "float32"],
}
"""What inputs may take of a type, beside floats."""


@dataclass
class Graph:
    """A graph, and what its schema says of it.

    Attributes:
        content: The file's bytes.
        inputs: What it gets.
        said: `inputs`, `columns`, `rows` and `score` of its schema.
        shows: What kind of graph it is, for people.
        feature: The feature that its formula names, by its reference.
    """

    content: bytes
    inputs: list[Input]
    said: dict[str, Any]
    shows: str
    feature: str | None = None
    session: onnxruntime.InferenceSession = field(init=False)

    def __post_init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self.session = onnxruntime.InferenceSession(self.content, options)

    def score(self, numbers: Numbers) -> np.ndarray:
        """Return the scores of n rows, shape (n,)."""
        with np.errstate(over="ignore", invalid="ignore"):
            given = self.session.run(None, {one.name: one.feed(numbers) for one in self.inputs})
        if "score" not in self.said:
            column = int(self.said.get("output", "[0]")[:-1].partition("[")[2])
            return np.asarray(given[-1], np.float64).reshape(len(next(iter(numbers.values()))), -1)[:, column]
        ctr, cvr = (np.asarray(output, np.float64).reshape(-1) for output in given)
        knows = {"ctr": ctr, "cvr": cvr, "where": np.where, "log1p": np.log1p, "max": np.maximum, "min": np.minimum}
        knows |= {"abs": np.abs, "FEATURE": numbers[self.feature].astype(np.float64) if self.feature else None}
        formula = self.said["score"].replace(self.feature or "FEATURE", "FEATURE")
        return np.asarray(eval(formula, {"__builtins__": {}}, knows))


def draw_graph(random: np.random.Generator, slots: Sequence[Slot], plain: bool) -> Graph:
    """Return a graph that takes all slots.

    Args:
        random: Draws it.
        slots: Those that a graph can take, in the order of a matrix's columns.
        plain: Whether a matrix without `columns` has them in this order.
    """
    build = Builder(random)
    numbers = [slot for slot in slots if not slot.shape and not slot.may_be_nan and slot.history is None]
    named = str(random.choice([slot.reference for slot in numbers])) if numbers else None
    kind = str(random.choice(["matrix", "trees", "towers", "named", "named"]))
    together = random.random() < 0.25
    said: dict[str, Any] = {"rows": "together"} if together else {}
    sides: dict[str, list[str]] = {"request": [], "product": []}
    if kind in ("matrix", "trees"):
        form = "1,n,…" if together and random.random() < 0.5 else "n,…"
        order = [slots[i] for i in random.permutation(len(slots))] if random.random() < 0.6 or not plain else [*slots]
        if order != [*slots] or not plain:
            said["columns"] = [slot.reference for slot in order]
        widths = [math.prod(slot.shape) for slot in order]
        matrix = build.take([slot.reference for slot in order], [sum(widths)], "float32", form)
        if kind == "trees":
            trees = build.trees(matrix, sum(widths))
            return _finish(build, said, trees, None, f"{kind} {form} {_rows(together)}", named)
        start = 0
        for slot, width in zip(order, widths, strict=True):
            cut = build.add("Slice", matrix, np.array([start]), np.array([start + width]), np.array([1]))
            sides[slot.side].append(build.embed(cut, width))
            start += width
    elif kind == "towers":
        for side in sides:
            given = [slots[i] for i in random.permutation(len(slots)) if slots[i].side == side]
            form = "1,…" if side == "request" and not together and random.random() < 0.5 else "n,…"
            width = sum(math.prod(slot.shape) for slot in given)
            values = build.take([slot.reference for slot in given], [width], "float32", form)
            sides[side].append(build.embed(values, width))
    else:
        for slot in slots:
            sides[slot.side] += _named(build, slot)
    if kind in ("towers", "named"):
        said["inputs"] = {one.name: _source(one.takes) for one in build.inputs}
    score, spare = _pair(build, sides, together)
    return _finish(build, said, score, spare, f"{kind} {_rows(together)}", named)


def _named(build: Builder, slot: Slot) -> list[str]:
    """Take a slot by an input of its own, and what is known of a sequence by others."""
    random, width = build.random, math.prod(slot.shape)
    if slot.type in WHOLE:
        dtype = str(
            random.choice(["int64", "int64", "int32" if slot.type == "int32" else "int64", "float64", "float32"])
        )
    else:
        dtype = str(random.choice(DTYPES_OF.get(slot.type, ["float32", "float32", "float64", "float16"])))
    if slot.may_be_nan and ("int" in dtype or dtype == "bool"):
        dtype = "float32"
    forms = ["n,…", "n,…", *(["n,"] if not slot.shape else []), *(["1,…"] if slot.side == "request" else [])]
    values = build.take([slot.reference], slot.shape, dtype, str(random.choice(forms)))
    is_whole = "int" in dtype
    is_code = slot.type == "category" and is_whole
    made = [build.look_up(values, width) if is_code else build.embed(values, width, whole=is_whole)]
    if slot.is_sequence and slot.history is None and random.random() < 0.7:
        dtype = str(random.choice(["float32", "bool", "int64"]))
        mask = build.take([f"mask {slot.reference}"], slot.shape[:1], dtype, "n,…")
        made.append(build.embed(mask, slot.shape[0], whole=dtype == "int64"))
    if slot.is_sequence and slot.history is None and random.random() < 0.4:
        dtype = str(random.choice(["float32", "int32", "uint8"]))
        made.append(
            build.embed(build.take([f"length {slot.reference}"], [], dtype, "n,…"), 1, whole=dtype != "float32")
        )
    return made


def _pair(build: Builder, sides: dict[str, list[str]], together: bool) -> tuple[str, str]:
    """Join the sides to scores (n, 1), and other ones."""
    request, product = (build.add("Sum", *parts) if parts else None for parts in sides.values())
    assert product is not None
    both = build.add("Mul", request, product) if request else product
    both = build.add("Add", both, product)
    if together:
        alike = build.add("MatMul", both, build.add("Transpose", both, perm=[1, 0]))
        both = build.add("Add", both, build.add("MatMul", build.add("Softmax", alike, axis=1), both))
    hidden = build.add("Relu", build.add("MatMul", both, build.weights(4, 16)))
    score, spare = (build.add("MatMul", hidden, build.weights(16, 1)) for _ in range(2))
    return build.add("Add", score, build.add("MatMul", both, build.weights(4, 1))), spare


def _finish(
    build: Builder, said: dict[str, Any], score: str, spare: str | None, shows: str, named: str | None
) -> Graph:
    random, feature = build.random, None
    outputs = {"score": tensor("score", ["n", 1])}
    kind = random.choice(["score", "score", "formula", "classes"]) if spare is not None else "score"
    if kind == "formula":
        formula = str(random.choice(FORMULAS))
        if "FEATURE" in formula and named is None:
            formula = FORMULAS[0]
        feature = named if "FEATURE" in formula else None
        said["score"] = formula.replace("FEATURE", named or "")
        outputs = {name: tensor(name, ["n", 1]) for name in ("ctr", "cvr")}
        build.nodes += [
            helper.make_node("Sigmoid", [one or ""], [name]) for one, name in zip((score, spare), outputs, strict=True)
        ]
    elif kind == "classes":
        outputs = _classes(build, said, score, spare or "")
    else:
        build.nodes.append(helper.make_node("Identity", [score], ["score"]))
    initializers = [numpy_helper.from_array(value, name) for name, value in build.constants.items()]
    graph = helper.make_graph(build.nodes, "drawn", build.declared, [*outputs.values()], initializers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", build.ml_version)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return Graph(content, build.inputs, said, f"{shows} {said.get('score', said.get('output', ''))}".strip(), feature)


def _classes(build: Builder, said: dict[str, Any], score: str, spare: str) -> dict[str, ValueInfoProto]:
    """Give class probabilities, in one of the types of scores, and the label of the largest."""
    random = build.random
    third = build.add("Mul", score, np.float32([-0.5]))
    logits = build.add("Concat", *(score, spare, third)[: int(random.integers(2, 4))], axis=1)
    count, dtype = len(build.nodes[-1].input), str(random.choice(["float32", "float64", "float16"]))
    probabilities = build.add("Softmax", logits, axis=1)
    build.nodes.append(helper.make_node("ArgMax", [probabilities], ["label"], axis=1, keepdims=0))
    build.nodes.append(helper.make_node("Cast", [probabilities], ["p"], to=DTYPES[dtype]))
    said["output"] = f"p[{random.integers(count)}]"
    return {"label": tensor("label", ["n"], TensorProto.INT64), "p": tensor("p", ["n", count], DTYPES[dtype])}


def _source(takes: list[str]) -> Any:
    if len(takes) > 1:
        return takes
    aspect, _, reference = takes[0].rpartition(" ")
    return {aspect: reference} if aspect else reference


def _rows(together: bool) -> str:
    return "together" if together else "independent"
