"""Random graphs of the operations that are split: the parts score what the whole graph scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from ranker.importing.splitting.split import NotSplit, Split, split
from ranker.scoring.model import OnnxModel
from ranker.scoring.split.model import SplitModel
from ranker.vectors.schema import FeatureSchema
from tests.support.models import onnx_bytes, tensor

UNARY = ("Relu", "Sigmoid", "Tanh", "Neg", "Abs", "Softplus", "LeakyRelu", "Identity", "Floor")
SPECIAL = np.array([0.0, 1.0, -1.0, 0.5, np.nan, np.inf, -np.inf], dtype=np.float32)


def schema_with(user: int, product: int, context: int, pair: int) -> FeatureSchema:
    groups = {"user": user, "product": product, "context": context, "productContext": pair}
    features = {
        name: {"features": [{"name": f"{name}{i}", "default": 0} for i in range(width)]}
        for name, width in groups.items()
        if width
    }
    return FeatureSchema.from_mapping(features)


class Writer:
    """Writes operations drawn at random on values (n, width), which it keeps with their widths."""

    def __init__(self, data: st.DataObject, seed: int) -> None:
        self.draw = data.draw
        self.random = np.random.default_rng(seed)
        self.nodes: list = []
        self.constants: dict[str, np.ndarray] = {}
        self.pool: list[tuple[str, int]] = []
        self.count = 0

    def constant(self, array: object, dtype: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, dtype=dtype)
        return name

    def weights(self, *shape: int) -> str:
        return self.constant(self.random.normal(size=shape) / np.sqrt(max(shape[0], 1)))

    def node(self, operator: str, *inputs: str, count: int = 1, **attributes: object) -> str:
        names = [f"v{self.count + i}" for i in range(count)]
        self.count += count
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names[0]

    def value(self) -> tuple[str, int]:
        return self.draw(st.sampled_from(self.pool))

    def of_width(self, width: int) -> str:
        return self.draw(st.sampled_from([name for name, other in self.pool if other == width]))

    def step(self) -> None:
        operations: list[Callable[[str, int], tuple[str, int]]] = [
            self.unary, self.with_constant, self.binary, self.concat, self.slice, self.gather, self.halves,
            self.dense, self.norm, self.reduce, self.over_axis, self.look_up, self.cube, self.where, self.shaped,
            self.interactions,
        ]  # fmt: skip
        self.pool.append(self.draw(st.sampled_from(operations))(*self.value()))

    def unary(self, name: str, width: int) -> tuple[str, int]:
        return self.node(self.draw(st.sampled_from(UNARY[:-1])), name), width

    def with_constant(self, name: str, width: int) -> tuple[str, int]:
        constant = self.constant(
            self.random.uniform(0.5, 2, size=self.draw(st.sampled_from([(), (width,), (1, width)])))
        )
        operator = self.draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Max"]))
        first = operator != "Div" and self.draw(st.booleans())
        return self.node(operator, *((constant, name) if first else (name, constant))), width

    def binary(self, name: str, width: int) -> tuple[str, int]:
        operator = self.draw(st.sampled_from(["Add", "Sub", "Mul", "Min", "Sum"]))
        return self.node(operator, name, self.of_width(width)), width

    def concat(self, name: str, width: int) -> tuple[str, int]:
        others = [self.value() for _ in range(self.draw(st.integers(1, 2)))]
        return self.node("Concat", name, *(one for one, _ in others), axis=-1), width + sum(w for _, w in others)

    def slice(self, name: str, width: int) -> tuple[str, int]:
        start = self.draw(st.integers(0, width - 1))
        stop = self.draw(st.integers(start + 1, width))
        bounds = (self.constant([value], np.int64) for value in (start, stop, 1))
        return self.node("Slice", name, *bounds), stop - start

    def gather(self, name: str, width: int) -> tuple[str, int]:
        places = self.draw(st.lists(st.integers(-width, width - 1), min_size=1, max_size=4))
        return self.node("Gather", name, self.constant(places, np.int64), axis=1), len(places)

    def halves(self, name: str, width: int) -> tuple[str, int]:
        if width < 2:
            return name, width
        first = self.draw(st.integers(1, width - 1))
        taken = self.node("Split", name, self.constant([first, width - first], np.int64), count=2, axis=1)
        self.pool.append((f"v{self.count - 1}", width - first))
        return taken, first

    def dense(self, name: str, width: int) -> tuple[str, int]:
        out = self.draw(st.integers(1, 5))
        if self.draw(st.booleans()):
            return self.node("MatMul", name, self.weights(width, out)), out
        return self.node("Gemm", name, self.weights(out, width), self.weights(out), transB=1, alpha=0.5), out

    def norm(self, name: str, width: int) -> tuple[str, int]:
        if self.draw(st.booleans()):
            offset, scale = self.random.normal(size=width), self.random.uniform(0.5, 2, size=width)
            return self.node("Scaler", name, domain="ai.onnx.ml", offset=offset.tolist(), scale=scale.tolist()), width
        positive = (self.constant(self.random.uniform(0.5, 2, size=width)) for _ in range(2))
        scale_, variance = positive
        moved = (self.constant(self.random.normal(size=width)) for _ in range(2))
        return self.node("BatchNormalization", name, scale_, *moved, variance), width

    def reduce(self, name: str, width: int) -> tuple[str, int]:
        if self.draw(st.booleans()):
            return self.node("ReduceSum", name, self.constant([1], np.int64), keepdims=1), 1
        return self.node("ReduceMean", name, axes=[-1], keepdims=1), 1

    def over_axis(self, name: str, width: int) -> tuple[str, int]:
        if self.draw(st.booleans()):
            return self.node("Softmax", name, axis=1), width
        return self.node("LayerNormalization", name, self.weights(width), epsilon=0.1), width

    def look_up(self, name: str, width: int) -> tuple[str, int]:
        if not name.startswith("in"):
            return name, width
        known = self.node("Where", self.node("IsNaN", name), self.constant(0.0), name)
        index = self.node("Cast", self.node("Clip", known, *map(self.constant, (0.0, 3.0))), to=TensorProto.INT64)
        found = self.node("Gather", self.weights(4, 2), index)
        return self.node("Reshape", found, self.constant([-1, 2 * width], np.int64)), 2 * width

    def cube(self, name: str, width: int) -> tuple[str, int]:
        """Values as rows of a history: (n, width, 1) and another repeated beside it, then a sum over either axis."""
        other, wide = self.value()
        row = self.node("Unsqueeze", name, self.constant([2], np.int64))
        beside = self.node("Unsqueeze", other, self.constant([1], np.int64))
        if self.draw(st.booleans()):
            beside = self.node("Expand", beside, self.constant([1, width, wide], np.int64))
            both = self.node("Concat", self.node("Mul", row, beside), beside, axis=2)
            wide *= 2
        else:
            both = self.node(self.draw(st.sampled_from(["Add", "Mul", "Sub"])), row, beside)
        if self.draw(st.booleans()):
            hidden = self.node("MatMul", both, self.weights(wide, 3))
            return self.node("ReduceSum", hidden, self.constant([1], np.int64), keepdims=0), 3
        if self.draw(st.booleans()):
            turned = self.node("Transpose", both, perm=[0, 2, 1])
            return self.node("ReduceMean", turned, axes=[2], keepdims=0), wide
        return self.node("Flatten", both, axis=1), wide * width

    def interactions(self, name: str, width: int) -> tuple[str, int]:
        """Products of all columns with all, of which some are picked in any order."""
        column = self.node("Unsqueeze", name, self.constant([2], np.int64))
        square = self.node("MatMul", column, self.node("Transpose", column, perm=[0, 2, 1]))
        flat = self.node("Reshape", square, self.constant([-1, width * width], np.int64))
        places = self.draw(st.lists(st.integers(0, width * width - 1), min_size=1, max_size=8))
        return self.node("Gather", flat, self.constant(places, np.int64), axis=1), len(places)

    def where(self, name: str, width: int) -> tuple[str, int]:
        if not name.startswith("in"):
            return name, width
        above = self.node("Greater", name, self.constant(0.25))
        return self.node("Where", above, self.of_width(width), self.constant(1.5)), width

    def shaped(self, name: str, width: int) -> tuple[str, int]:
        """A constant for each row, as exporters make it from the shape of another value."""
        rows = self.node("Gather", self.node("Shape", name), self.constant([0], np.int64), axis=0)
        shape = self.node("Concat", rows, self.constant([2], np.int64), axis=0)
        filled = self.node("Expand", self.constant([[0.5, -1.0]]), shape)
        return self.node("Concat", filled, name, axis=1), width + 2


def rows_of(width: int, seed: int) -> np.ndarray:
    """Rows with ties, NaN and infinities, shape (24, width)."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(24, width)).astype(np.float32)
    rows[8:16] = np.round(rows[8:16])
    special = random.random(rows.shape) < 0.15
    special[:16] = False
    rows[special] = random.choice(SPECIAL, size=int(special.sum()))
    return rows


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), seed=st.integers(0, 2**31), many=st.booleans())
def test_parts_score_what_the_whole_graph_scores(data: st.DataObject, seed: int, many: bool) -> None:
    widths = [data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))]
    widths += [data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))]
    schema = schema_with(*widths)
    writer = Writer(data, seed)
    if many:
        names = ["input_user", "input_product", "input_context", "input_product_context"]
        inputs = [tensor(name, ["n", width]) for name, width in zip(names, widths, strict=True) if width]
        writer.pool = [(name, width) for name, width in zip(names, widths, strict=True) if width]
    else:
        inputs = [tensor("in", ["n", schema.width])]
        writer.pool = [("in", schema.width)]
        writer.slice("in", schema.width)
    for _ in range(data.draw(st.integers(1, 9))):
        writer.step()
    last, width = writer.pool[-1]
    first, more = writer.pool[0]
    joined = writer.node("Concat", last, first, axis=1)
    score = writer.node("MatMul", writer.node("Tanh", joined), writer.weights(width + more, 1))
    content = onnx_bytes(writer.nodes, inputs, [tensor(score, ["n", 1])], writer.constants)
    model = OnnxModel(content, schema)
    made = split(content, model.inputs, model.output, schema)
    event("split" if isinstance(made, Split) else made.reason[:60])
    if isinstance(made, NotSplit):
        assert made.reason.startswith(("Nothing can be computed", "It computes nothing"))
        return
    assert isinstance(made, Split)
    rows = rows_of(schema.width, seed)
    whole, parts = model.score(rows), SplitModel(made.parts, schema).score(rows)
    np.testing.assert_allclose(parts[:16], whole[:16], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(parts[16:], whole[16:], rtol=1e-5, atol=1e-5)
