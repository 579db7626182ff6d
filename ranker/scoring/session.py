"""ONNX Runtime session: arrays in, arrays out; the only module that imports onnxruntime.

Owns how a graph is loaded, and how long a trial of it may take. Knows nothing of schemas or scores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any, Protocol

import numpy.typing as npt

from ranker.errors import ModelFailed, ModelRejected
from ranker.process import signals, vendor_telemetry

vendor_telemetry.switch_off()  # it looks once, when it is imported
with signals.held_back():
    import onnxruntime


class Declared(Protocol):
    """An input or output as ONNX Runtime describes it; a dynamic axis is None or a name, an unknown shape is empty."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def shape(self) -> Sequence[int | str | None]: ...


class Session:
    """A graph that is loaded. Safe to use from several threads.

    Args:
        path_or_bytes: The ONNX file or its content.
        threads: How many threads ONNX Runtime may use within one call.
        folder: Where the graph's weights lie, where they are in files of their own; None where they must be inside.

    Attributes:
        inputs: What the graph takes.
        outputs: What it gives.
        producer: The exporter, as the graph names it; empty when it does not.
        metadata: What else the graph says of itself.

    Raises:
        ModelRejected: it does not load.
    """

    def __init__(
        self, path_or_bytes: str | os.PathLike[str] | bytes, threads: int = 1, folder: Path | None = None
    ) -> None:
        self._session = _open(path_or_bytes, threads, folder)
        self._options: Any = None
        self.inputs: Sequence[Declared] = self._session.get_inputs()
        self.outputs: Sequence[Declared] = self._session.get_outputs()
        meta = self._session.get_modelmeta()
        self.producer: str = meta.producer_name
        self.metadata: dict[str, str] = meta.custom_metadata_map

    def run(self, outputs: Sequence[str], feeds: Mapping[str, npt.NDArray[Any]], rows: int) -> list[npt.NDArray[Any]]:
        """Return what the graph gives for its inputs.

        Raises:
            ModelFailed: ONNX Runtime raised, such as for a category that an embedding does not know.
            ModelRejected: the time of a trial is over.
        """
        try:  # measured no slower than IOBinding for 100 to 1000 rows, and free of state that threads would share
            arrays: list[npt.NDArray[Any]] = self._session.run(outputs, feeds, self._options)
        except Exception as err:  # ONNX Runtime's exceptions share no other base
            if self._options is not None and self._options.terminate:
                raise ModelRejected(
                    f"The trial of the graph did not end within {self._limit_s:g} s: it may hold a loop without end. "
                    "If it is only slow, allow more (--time-limit)."
                ) from err
            raise ModelFailed(rows, _reason(err)) from err
        return arrays

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


def _open(path_or_bytes: str | os.PathLike[str] | bytes, threads: int, folder: Path | None) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Spinning threads would take the cores from the API workers and from Redis between calls.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights in a second file would be found beside the file that is imported, and lost in the model store.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder or os.devnull))
    options.log_severity_level = 4  # fatal: exceptions carry the errors, and loosely declared shapes warn at each call
    try:
        return onnxruntime.InferenceSession(path_or_bytes, options, providers=["CPUExecutionProvider"])
    except Exception as err:
        reason = _reason(err)
        if "External data" in reason:
            raise ModelRejected(
                "The weights lie in a second file. Hand over the path, with both in one folder, or export one file: "
                "torch.onnx.export(..., external_data=False)."
            ) from err
        remedy = (
            "It has this operator for other types: export from float32, such as a frame's .astype(np.float32) or "
            "FloatTensorType in place of DoubleTensorType."
            if "Could not find an implementation" in reason
            else "Check that it is an ONNX file, whole, with operators and an opset that this version knows "
            "(target_opset, opset_version)."
        )
        raise ModelRejected(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the graph: {reason}. {remedy}"
        ) from err


def _reason(err: Exception) -> str:
    """The first line of ONNX Runtime's message without its `[ONNXRuntimeError] : 1 : FAIL : `."""
    return str(err).partition("\n")[0].rsplit(" : ", 1)[-1][:300].rstrip(".")
