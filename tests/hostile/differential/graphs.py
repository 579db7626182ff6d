"""Random graphs over slots: what of the features each input takes, and ONNX Runtime's own scores for their numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
from onnx import helper, numpy_helper

from tests.hostile.differential.builder import Builder, Input, Numbers
from tests.hostile.differential.slots import WHOLE, Slot
from tests.support.models import tensor

FORMULAS = (
    "ctr * cvr",
    "where(ctr > 0.5, ctr + 1, cvr)",
    "log1p(ctr) - 2 * cvr ** 0.5",
    "max(ctr, cvr) - min(ctr, 0.3)",
)


@dataclass
class Graph:
    """A graph, and what its schema says of it.

    Attributes:
        content: The file's bytes.
        inputs: What it gets.
        said: `inputs`, `columns`, `rows` and `score` of its schema.
        shows: What kind of graph it is, for people.
    """

    content: bytes
    inputs: list[Input]
    said: dict[str, Any]
    shows: str
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
            return np.asarray(given[0], np.float64).reshape(-1)
        ctr, cvr = (np.asarray(output, np.float64).reshape(-1) for output in given)
        knows = {"ctr": ctr, "cvr": cvr, "where": np.where, "log1p": np.log1p, "max": np.maximum, "min": np.minimum}
        return np.asarray(eval(self.said["score"], {"__builtins__": {}}, knows))


def draw_graph(random: np.random.Generator, slots: Sequence[Slot], plain: bool) -> Graph:
    """Return a graph that takes all slots.

    Args:
        random: Draws it.
        slots: Those that a graph can take, in the order of a matrix's columns.
        plain: Whether a matrix without `columns` has them in this order.
    """
    build = Builder(random)
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
            return _finish(build, said, build.trees(matrix, sum(widths)), None, f"{kind} {form} {_rows(together)}")
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
    return _finish(build, said, score, spare, f"{kind} {_rows(together)}")


def _named(build: Builder, slot: Slot) -> list[str]:
    """Take a slot by an input of its own, and what is known of a sequence by others."""
    random, width = build.random, math.prod(slot.shape)
    dtypes = {"category": ["float32", "int64", "str"], "bool": ["float32", "bool"], "float16": ["float16", "float32"]}
    if slot.type in WHOLE:
        dtype = "int32" if slot.type == "int32" and random.random() < 0.5 else "int64"
    else:
        dtype = str(random.choice(dtypes.get(slot.type, ["float32", "float32", "float64"])))
    if slot.may_be_nan and dtype in ("int64", "bool"):
        dtype = "float32"
    forms = ["n,…", "n,…", *(["n,"] if not slot.shape else []), *(["1,…"] if slot.side == "request" else [])]
    values = build.take([slot.reference], slot.shape, dtype, str(random.choice(forms)))
    is_code = slot.type == "category" and dtype == "int64"
    made = [build.look_up(values, width) if is_code else build.embed(values, width, whole=slot.type in WHOLE)]
    if slot.is_sequence and slot.history is None and random.random() < 0.7:
        mask = build.take([f"mask {slot.reference}"], slot.shape[:1], "float32", "n,…")
        made.append(build.embed(mask, slot.shape[0]))
    if slot.is_sequence and slot.history is None and random.random() < 0.4:
        made.append(build.embed(build.take([f"length {slot.reference}"], [], "float32", "n,…"), 1))
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


def _finish(build: Builder, said: dict[str, Any], score: str, spare: str | None, shows: str) -> Graph:
    outputs = ["score"]
    if spare is not None and build.random.random() < 0.25:
        outputs = ["ctr", "cvr"]
        said["score"] = str(build.random.choice(FORMULAS))
        build.nodes += [
            helper.make_node("Sigmoid", [one], [name]) for one, name in zip((score, spare), outputs, strict=True)
        ]
    else:
        build.nodes.append(helper.make_node("Identity", [score], ["score"]))
    declared = [tensor(name, ["n", 1]) for name in outputs]
    initializers = [numpy_helper.from_array(value, name) for name, value in build.constants.items()]
    graph = helper.make_graph(build.nodes, "drawn", build.declared, declared, initializers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", build.ml_version)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return Graph(content, build.inputs, said, f"{shows} {said.get('score', '')}".strip())


def _source(takes: list[str]) -> Any:
    if len(takes) > 1:
        return takes
    aspect, _, reference = takes[0].rpartition(" ")
    return {aspect: reference} if aspect else reference


def _rows(together: bool) -> str:
    return "together" if together else "independent"
