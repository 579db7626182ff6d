"""Matrix → scores with ONNX Runtime, for a graph checked against the schema it was imported with.

Owns the session and the promise of one score per row, whatever rows come with it. Knows nothing of where the graph is
kept or who asks for scores.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker import vendor_telemetry
from ranker.encoding import Matrix, Scores
from ranker.errors import ModelFailed, ModelRejected, WrongShape
from ranker.graph import DYNAMIC_BATCH, ModelInput, ModelOutput, match_inputs, score_candidates
from ranker.schema import FeatureSchema

vendor_telemetry.switch_off()
import onnxruntime  # noqa: E402 - it looks once, when it is imported

_FLOAT32 = np.dtype(np.float32)


class OnnxModel:
    """A ranking model: rows of the schema's features in, one score per row out. Safe to use from several threads.

    Args:
        path_or_bytes: The ONNX file or its content, with all weights inside.
        schema: What the columns of a matrix are.
        threads: How many threads ONNX Runtime may use within one call.

    Attributes:
        schema: As given.
        width: F, the number of columns of a matrix.
        inputs: The graph's inputs and the columns they take.
        output: The graph's output that holds the scores.

    Raises:
        ModelRejected: the graph does not load, does not fit the schema, or does not give one score per row.
    """

    def __init__(
        self, path_or_bytes: str | os.PathLike[str] | bytes, schema: FeatureSchema, *, threads: int = 1
    ) -> None:
        self.schema = schema
        self.width = schema.width
        self._session = _open(path_or_bytes, threads)
        self.inputs: tuple[ModelInput, ...] = match_inputs(self._session.get_inputs(), schema)
        rows = _probe_rows(schema)
        self.output = self._find_output(rows)
        self._check_rows_are_independent(rows)

    def score(self, matrix: Matrix) -> Scores:
        """Score the rows of a matrix.

        Args:
            matrix: Shape (n, F), float32; C-contiguous, or it is copied.

        Returns:
            Shape (n,), float32. NaN where the graph gives NaN.

        Raises:
            WrongShape: another width, number of axes or dtype, or a graph that gives not one score per row.
            ModelFailed: ONNX Runtime raised, such as for a category that an embedding does not know.
        """
        if matrix.ndim != 2 or matrix.shape[1] != self.width or matrix.dtype != _FLOAT32:
            raise WrongShape(f"The {matrix.dtype} matrix", matrix.shape, f"(n, {self.width}) of float32")
        n = len(matrix)
        if n == 0:
            return np.empty(0, dtype=np.float32)
        try:
            (raw,) = self._run(matrix, (self.output.name,))
        except Exception as err:  # ONNX Runtime's exceptions share no other base
            raise ModelFailed(n, _reason(err)) from err
        scores = raw[:, 1] if self.output.shape == "(n, 2)" else raw.reshape(-1)
        if len(scores) != n:
            raise WrongShape(f"The output {self.output.name}", raw.shape, f"one score for each of {n} rows")
        if scores.dtype == _FLOAT32:
            return np.ascontiguousarray(scores)
        with np.errstate(over="ignore"):  # a double beyond float32's range becomes infinite
            return scores.astype(np.float32)

    def _run(self, matrix: Matrix, outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        # Measured no slower than IOBinding for 100 to 1000 rows, and free of state that threads would share.
        feeds = {node.name: node.take(matrix) for node in self.inputs}
        arrays: list[npt.NDArray[Any]] = self._session.run(outputs, feeds)
        return arrays

    def _find_output(self, rows: Matrix) -> ModelOutput:
        """Choose the output that gives one score per row by running 1, 2 and 3 rows; declared shapes may be wrong."""
        candidates = score_candidates(self._session.get_outputs())
        runs: list[list[npt.NDArray[Any]]] = []
        for n in range(1, len(rows) + 1):
            try:
                runs.append(self._run(rows[:n], candidates))
            except Exception as err:
                remedy = f"{DYNAMIC_BATCH}." if runs else "Check that the schema lists the columns it was trained on."
                raise ModelRejected(f"The graph cannot score {n} rows of defaults: {_reason(err)}. {remedy}") from err
        found = [
            output
            for name, arrays in zip(candidates, zip(*runs, strict=True), strict=True)
            if (output := _as_output(name, arrays))
        ]
        if len(found) != 1:
            raise ModelRejected(_no_single_score(candidates, runs[-1], [output.name for output in found]))
        return found[0]

    def _check_rows_are_independent(self, rows: Matrix) -> None:
        together = self.score(rows)
        apart = np.concatenate([self.score(row[np.newaxis]) for row in rows])
        # The relative part allows for sums taken in another order when scores are large.
        if not np.allclose(together, apart, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise ModelRejected(
                f"A row's score depends on the rows scored with it ({apart.tolist()} one by one, {together.tolist()} "
                "together), so batching would change rankings. Export it for inference (model.eval() in PyTorch), with "
                "nothing normalised over the batch axis."
            )


def _open(path_or_bytes: str | os.PathLike[str] | bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Spinning threads would take the cores from the API workers and from Redis between calls.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights in a second file would be found beside the file that is imported, and lost in the model store.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    options.log_severity_level = 4  # fatal: exceptions carry the errors, and loosely declared shapes warn at each call
    try:
        return onnxruntime.InferenceSession(path_or_bytes, options, providers=["CPUExecutionProvider"])
    except Exception as err:
        reason = _reason(err)
        if "External data" in reason:
            raise ModelRejected(
                "The weights lie in a second file. Export one file: torch.onnx.export(..., external_data=False), or "
                'onnx.save(onnx.load("model.onnx"), "one.onnx").'
            ) from err
        raise ModelRejected(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the graph: {reason}. Check that it is an ONNX file, "
            "whole, with operators and an opset that this version knows (target_opset, opset_version)."
        ) from err


def _probe_rows(schema: FeatureSchema) -> Matrix:
    """Three rows near the default vectors, shape (3, F): close enough that whole numbers (ids, counts) stay valid."""
    rows: Matrix = np.random.default_rng(0).random((3, schema.width), dtype=np.float32) * np.float32(0.5)
    rows += schema.defaults
    rows[0] = schema.defaults
    return rows


def _as_output(name: str, arrays: Sequence[npt.NDArray[Any]]) -> ModelOutput | None:
    """Describe an output by what it gave for 1, 2, 3 rows; None when that is not one score per row."""
    shapes = [array.shape for array in arrays]
    counts = range(1, len(arrays) + 1)
    dtype = arrays[0].dtype
    if shapes == [(n,) for n in counts]:
        return ModelOutput(name, dtype, "(n,)")
    if shapes == [(n, 1) for n in counts]:
        return ModelOutput(name, dtype, "(n, 1)")
    if shapes == [(n, 2) for n in counts] and all(map(_are_probabilities, arrays)):
        return ModelOutput(name, dtype, "(n, 2)")
    return None


def _are_probabilities(values: npt.NDArray[Any]) -> bool:
    known = values[~np.isnan(values).any(axis=1)]
    return bool((known >= 0).all() and np.allclose(known.sum(axis=1), 1, atol=1e-3))


def _no_single_score(candidates: Sequence[str], arrays: Sequence[npt.NDArray[Any]], found: Sequence[str]) -> str:
    if len(found) > 1:
        return (
            f"The outputs {', '.join(found)} could each be the score. Export one of them (for a classifier the "
            'probabilities as one tensor: options={id(model): {"zipmap": False}}).'
        )
    gave = ", ".join(f"{name} {array.shape}" for name, array in zip(candidates, arrays, strict=True))
    width = arrays[0].shape[1] if len(arrays) == 1 and arrays[0].ndim == 2 else 0
    if width == 2:
        remedy = (
            "Its two columns are no class probabilities, which are positive and sum to 1: export the score alone, or "
            "the probabilities (softmax in PyTorch)"
        )
    elif width > 2:
        remedy = "Export a model of two classes (clicked or not), a regressor or a ranker, or the one column that ranks"
    else:
        remedy = f"Export a graph with the output (n,), (n, 1) or class probabilities (n, 2). {DYNAMIC_BATCH}"
    return f"The graph does not give one score per row; 3 rows gave {gave}. {remedy}."


def _reason(err: Exception) -> str:
    """The first line of ONNX Runtime's message without its `[ONNXRuntimeError] : 1 : FAIL : `."""
    return str(err).partition("\n")[0].rsplit(" : ", 1)[-1][:300].rstrip(".")
