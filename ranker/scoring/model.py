"""ONNX model: matrix → scores with ONNX Runtime, for a graph checked against the schema it was imported with.

Owns the session and the promise of one score per row, whatever rows come with it. Knows nothing of where the graph is
kept or who asks for scores.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Timer
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.errors import ModelFailed, ModelRejected, WrongShape
from ranker.process import vendor_telemetry
from ranker.scoring import exporters, proof
from ranker.scoring.graph import ModelInput, match_inputs
from ranker.scoring.graph_output import (
    Arrays,
    ModelOutput,
    find_output,
    observed_classes,
    read_choice,
    score_candidates,
)
from ranker.scoring.onnx_file import Node, classes_of, read_nodes
from ranker.vectors.rows import Matrix, Scores
from ranker.vectors.schema import FeatureSchema

vendor_telemetry.switch_off()
import onnxruntime  # noqa: E402 - it looks once, when it is imported

_FLOAT32 = np.dtype(np.float32)
_LABELS = ("tensor(int64)", "tensor(string)", "tensor(bool)")


class OnnxModel:
    """A ranking model: rows of the schema's features in, one score per row out. Safe to use from several threads.

    Args:
        path_or_bytes: The ONNX file or its content, with all weights inside.
        schema: What the columns of a matrix are, and where the graph leaves a choice, which input and output are which.
        threads: How many threads ONNX Runtime may use within one call.
        limit_s: Seconds that the trial of the graph may take, for one may never end; None for one that was proved.

    Attributes:
        schema: As given.
        width: F, the number of columns of a matrix.
        inputs: The graph's inputs and the columns they take.
        output: The graph's output that holds the scores.

    Raises:
        ModelRejected: the graph does not load, does not fit the schema, or does not give one score per row.
    """

    def __init__(
        self,
        path_or_bytes: str | os.PathLike[str] | bytes,
        schema: FeatureSchema,
        *,
        threads: int = 1,
        limit_s: float | None = None,
    ) -> None:
        self.schema = schema
        self.width = schema.width
        self._options: Any = None
        self._session = _open(path_or_bytes, threads)
        producer: str = self._session.get_modelmeta().producer_name
        self.inputs: tuple[ModelInput, ...] = match_inputs(self._session.get_inputs(), schema, producer)
        self._nodes = _nodes(path_or_bytes)
        with self.limited(limit_s):
            rows = proof.near_rows(schema)
            self.output = self._find_output(rows, producer)
            proof.refuse_difference(self.score, rows, self._why_rows_may_mix())

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
            self._refuse_to_wait(err)
            raise ModelFailed(n, _reason(err)) from err
        scores = raw.reshape(-1) if self.output.column is None else raw[:, self.output.column]
        if len(scores) != n:
            raise WrongShape(f"The output {self.output.name}", raw.shape, f"one score for each of {n} rows")
        if scores.dtype == _FLOAT32:
            return np.ascontiguousarray(scores)
        with np.errstate(over="ignore"):  # a double beyond float32's range becomes infinite
            return scores.astype(np.float32)

    def refuse_batch_effects(self, limit_s: float | None = None) -> None:
        """Score rows near the defaults and far from them in several companies; more than each start has time for.

        Raises:
            ModelRejected: a row's score depends on the rows scored with it, or the trial takes longer than `limit_s`.
        """
        with self.limited(limit_s):
            proof.refuse_batch_effects(self.score, self.schema, self._why_rows_may_mix())

    @contextmanager
    def limited(self, seconds: float | None) -> Iterator[None]:
        """End what the graph computes in the block after so many seconds; for trials, in one thread."""
        if seconds is None:
            yield
            return
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = 4
        self._limit_s = seconds
        timer = Timer(seconds, setattr, (self._options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._options = None

    def _run(self, matrix: Matrix, outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        # Measured no slower than IOBinding for 100 to 1000 rows, and free of state that threads would share.
        feeds = {node.name: node.take(matrix) for node in self.inputs}
        arrays: list[npt.NDArray[Any]] = self._session.run(outputs, feeds, self._options)
        return arrays

    def _refuse_to_wait(self, err: Exception) -> None:
        if self._options is not None and self._options.terminate:
            raise ModelRejected(
                f"The trial of the graph did not end within {self._limit_s:g} s: it may hold a loop without end. If it "
                "is only slow, allow more (--time-limit)."
            ) from err

    def _find_output(self, rows: Matrix, producer: str) -> ModelOutput:
        """Find the output that gives one score per row by running 1, 2 and 3 rows."""
        declared = self._session.get_outputs()
        choice = read_choice(self.schema.output, declared)
        candidates = score_candidates(declared, choice, producer)
        runs: list[list[npt.NDArray[Any]]] = []
        for n in range(1, len(rows) + 1):
            try:
                runs.append(self._run(rows[:n], candidates))
            except Exception as err:
                self._refuse_to_wait(err)
                raise ModelRejected(self._cannot_run(n, _reason(err), producer)) from err
        given: dict[str, Arrays] = dict(zip(candidates, zip(*runs, strict=True), strict=True))
        labels = [node.name for node in declared if node.type in _LABELS]
        return find_output(given, choice, {name: self._classes(name, labels) for name in given})

    def _classes(self, output: str, labels: Sequence[str]) -> tuple[str, ...]:
        """Return the classes of an output's columns: as the graph names them, else as its labels show them."""
        if (named := classes_of(self._nodes, output)) or len(labels) != 1:
            return named
        names = (output, labels[0])

        def score(row: Matrix) -> Scores:  # only whether it can
            try:
                self._run(row, names)
            except Exception as err:
                self._refuse_to_wait(err)
                raise ModelFailed(len(row), _reason(err)) from err
            return np.zeros(len(row), dtype=np.float32)

        columns, label = self._run(proof.spread_rows(score, self.schema), names)
        return observed_classes(columns, label)

    def _cannot_run(self, rows: int, reason: str, producer: str) -> str:
        if rows > 1:
            remedy = exporters.dynamic_rows(producer, [node.name for node in self.inputs])
        elif "out of data bounds" in reason or "idx=" in reason:
            remedy = (
                "An id is looked up in a table that does not hold it. Give that feature a default that the table "
                "holds, such as {name: item_id, default: 1000}"
            )
        else:
            remedy = "Check that the schema lists the columns it was trained on"
        return f"The graph cannot score {rows} rows of defaults: {reason}. {remedy}."

    def _why_rows_may_mix(self) -> str:
        if any(node.operator == "DynamicQuantizeLinear" for node in self._nodes):
            return (
                "It is quantised dynamically (DynamicQuantizeLinear), and takes the scale from all rows of a batch. "
                "Use onnxruntime.quantization.quantize_static, or the float32 graph."
            )
        return ""


def _nodes(path_or_bytes: str | os.PathLike[str] | bytes) -> list[Node]:
    if isinstance(path_or_bytes, bytes):
        return read_nodes(path_or_bytes)
    with (
        open(path_or_bytes, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        return read_nodes(view)


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
                'onnx.save(onnx.load("model.onnx"), "one.onnx"); a graph of more than 2 GB fits in no such file.'
            ) from err
        raise ModelRejected(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the graph: {reason}. Check that it is an ONNX file, "
            "whole, with operators and an opset that this version knows (target_opset, opset_version)."
        ) from err


def _reason(err: Exception) -> str:
    """The first line of ONNX Runtime's message without its `[ONNXRuntimeError] : 1 : FAIL : `."""
    return str(err).partition("\n")[0].rsplit(" : ", 1)[-1][:300].rstrip(".")
