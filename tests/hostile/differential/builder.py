"""Graph builder: inputs that take slots, and the nodes that tell their values apart, one after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from tests.hostile.differential.slots import TEXTS
from tests.support.models import tensor
from tests.support.tree_nodes import MODES, as_fifth, as_first, grow

DTYPES: dict[str, int] = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "int16": TensorProto.INT16,
    "int8": TensorProto.INT8,
    "uint64": TensorProto.UINT64,
    "uint32": TensorProto.UINT32,
    "uint16": TensorProto.UINT16,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
    "str": TensorProto.STRING,
}
Numbers = Mapping[str, np.ndarray]
"""What a graph gets: of each slot by its reference, for n rows; of a mask or length, with that word before it."""


@dataclass
class Input:
    """An input, and what it takes side by side."""

    name: str
    takes: list[str]
    dtype: str
    shape: str
    """`n,`: (n,). `n,…`: (n, …). `1,…`: one row for all. `1,n,…`: a list."""

    def feed(self, numbers: Numbers) -> np.ndarray:
        """Return what it gets."""
        given = [numbers[name] for name in self.takes]
        one = given[0] if len(given) == 1 else np.concatenate([part.reshape(len(part), -1) for part in given], axis=1)
        if self.dtype == "str":
            texts = {float(code): text for code, text in enumerate(TEXTS)}
            one = np.vectorize(lambda code: texts.get(float(code), ""), otypes=[object])(one)
        else:
            one = one.astype(self.dtype)
        if self.shape != "n,":
            one = one.reshape(len(one), *(one.shape[1:] or (1,)))
        return one[:1] if self.shape == "1,…" else one[np.newaxis] if self.shape == "1,n,…" else one


class Builder:
    """Puts a graph together, node by node."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: list[Input] = []
        self.declared: list[ValueInfoProto] = []
        self.ml_version = 3

    def add(self, operator: str, *given: str | np.ndarray, outputs: int = 1, **attributes: Any) -> str:
        """Add a node, whose arrays become constants; return its last output."""
        names = [one if isinstance(one, str) else self.constant(one) for one in given]
        made = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        domain = {"domain": "ai.onnx.ml"} if operator.startswith(("Tree", "Label")) else {}
        self.nodes.append(helper.make_node(operator, names, made, **domain, **attributes))
        return made[-1]

    def constant(self, value: np.ndarray) -> str:
        self.constants[name := f"k{len(self.constants)}"] = value
        return name

    def weights(self, *shape: int) -> np.ndarray:
        return (self.random.normal(size=shape) / shape[0] ** 0.5).astype(np.float32)

    def take(self, takes: list[str], shape: Sequence[int], dtype: str, form: str) -> str:
        """Declare an input; return its values as float32, or whole numbers as int64, (n or 1, elements)."""
        name, size = f"in_{len(self.inputs)}", math.prod(shape)
        self.inputs.append(Input(name, takes, dtype, form))
        row = [] if form == "n," else [*shape] or [1]
        first: list[int | str] = {"n,": ["n"], "n,…": ["n"], "1,…": [1], "1,n,…": [1, "n"]}[form]
        self.declared.append(tensor(name, [*first, *row], DTYPES[dtype]))
        flat = self.add("Reshape", name, np.array([-1, size]))
        if dtype == "str":
            codes = [float(code) for code in range(len(TEXTS))]
            return self.add("LabelEncoder", flat, keys_strings=[*TEXTS], values_floats=codes, default_float=-1.0)
        kept = TensorProto.INT64 if "int" in dtype else TensorProto.FLOAT
        return self.add("Cast", flat, to=kept)

    def embed(self, values: str, width: int, whole: bool = False) -> str:
        """Return (n, 4) that tells values apart, NaN among them."""
        if whole:
            rest = self.add("Cast", self.add("Mod", values, np.array(97)), to=TensorProto.FLOAT)
            values = self.add("Div", rest, np.float32([97]))
        nan = self.add("IsNaN", values)
        known = self.add("Softsign", self.add("Where", nan, np.float32([0.37]), values))
        return self.add("Tanh", self.add("MatMul", known, self.weights(width, 4)))

    def look_up(self, codes: str, width: int) -> str:
        """Return (n, 4) of a category's codes, by a table."""
        rows = self.add("Gather", self.weights(len(TEXTS), 3), codes)
        return self.embed(self.add("Reshape", rows, np.array([-1, width * 3])), width * 3)

    def trees(self, values: str, width: int) -> str:
        """Return (n, 1): a tree ensemble's raw score."""
        random, fifth = self.random, self.random.random() < 0.5
        members = fifth and random.random() < 0.5
        modes = MODES if members else MODES[:-1]
        if random.random() < 0.4:
            modes = (str(random.choice(MODES[:4])),)
        thresholds = np.concatenate([np.arange(-6, 13) / 4, random.normal(size=8), [1e-45, -0.0, 3.4e38, 16777216]])
        sizes = random.integers(1, 40, int(random.integers(1, 30)))
        if members:  # ONNX Runtime takes whole ones alone
            thresholds = np.arange(-2, 8)
        values_at = thresholds.astype(np.float32)
        grown = [grow(random, int(leaves), width, modes, values_at, [(0,)]) for leaves in sizes]
        if not fifth:
            return self.add("TreeEnsembleRegressor", values, n_targets=1, **as_first(grown, "target"))
        self.ml_version = 5
        attributes = {
            name: helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(given.dtype), given.shape, given.tolist())
            if isinstance(given, np.ndarray)
            else given
            for name, given in as_fifth(grown, 1).items()
        }
        return self.add("TreeEnsemble", values, **attributes)
