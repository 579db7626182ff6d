"""Synthetic catalogue of any size, seeded, and a small network over it, for load tests.

The same rows for the demo, the benchmarks, the tests and the load generator: row i depends on the seed and i alone,
never on how many are asked for. Owns ids, rows, schema and model; must not know of Redis. Needs numpy only, but for the
model, which needs onnx.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ranker.errors import DemoPackageMissing
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema

WIDTH = 64
"""Features of a user, and of a product."""
HIDDEN = 32
BLOCK = 10_000
"""Rows made at a time: 2.5 MB."""
MAX_USERS = 100_000
SEED = 20200


def schema() -> FeatureSchema:
    """Return the schema: `user_00` to `user_63`, `product_00` to `product_63`."""
    return FeatureSchema.from_mapping(
        {kind: {"features": [f"{kind}_{i:02d}" for i in range(WIDTH)]} for kind in ("user", "product")}
    )


def user_ids(n: int) -> list[str]:
    """Return the first n users' ids: `u0000001` and so on."""
    return [f"u{i:07d}" for i in range(1, n + 1)]


def product_ids(n: int) -> list[str]:
    """Return the first n products' ids: `p0000001` and so on."""
    return [f"p{i:07d}" for i in range(1, n + 1)]


def user_rows(n: int) -> Iterator[Matrix]:
    """Yield the first n users' vectors, float32, in matrices of at most `BLOCK` rows."""
    return _rows(0, n)


def product_rows(n: int) -> Iterator[Matrix]:
    """Yield the first n products' vectors, float32, in matrices of at most `BLOCK` rows."""
    return _rows(1, n)


def build_model() -> bytes:
    """Return a seeded network of one hidden layer as ONNX: `features` (n, 128) in, `scores` (n,) between 0 and 1 out.

    Raises:
        DemoPackageMissing: onnx is not installed.
    """
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as err:
        raise DemoPackageMissing("onnx", str(err)) from None
    rng = np.random.default_rng([SEED, 2])
    weights: dict[str, npt.NDArray[np.generic]] = {
        "W1": rng.normal(0, (2 / (2 * WIDTH)) ** 0.5, (2 * WIDTH, HIDDEN)).astype(np.float32),
        "b1": np.zeros(HIDDEN, dtype=np.float32),
        "W2": rng.normal(0, (1 / HIDDEN) ** 0.5, (HIDDEN, 1)).astype(np.float32),
        "b2": np.zeros(1, dtype=np.float32),
        "flat": np.array([-1], dtype=np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["features", "W1", "b1"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "W2", "b2"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["column"]),
            helper.make_node("Reshape", ["column", "flat"], ["scores"]),
        ],
        "ranker-synthetic",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 2 * WIDTH])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    # Fixed, so that the bytes do not follow the installed onnx, and every ONNX Runtime of the last years reads them.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))


def _rows(kind: int, n: int) -> Iterator[Matrix]:
    for block, start in enumerate(range(0, n, BLOCK)):
        rng = np.random.default_rng([SEED, kind, block])
        yield rng.standard_normal((min(BLOCK, n - start), WIDTH), dtype=np.float32)
