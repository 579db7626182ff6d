"""Dependency and model errors: the fault of something we call, and of the model."""

from __future__ import annotations

from typing import ClassVar

from ranker.errors.base import RankerError


class DependencyError(RankerError):
    """Redis or the model runner did not do its part.

    Attributes:
        kind: A stable word for what failed, for metrics.
    """

    kind: ClassVar[str]


class StoreUnavailable(DependencyError):
    kind = "store_unavailable"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The feature store did not answer: {reason}.")


class RunnerUnavailable(DependencyError):
    kind = "runner_unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The model runner did not answer: {reason}.")


class DeadlineExceeded(DependencyError):
    kind = "deadline_exceeded"

    def __init__(self, stage: str, deadline_ms: float) -> None:
        self.stage = stage
        super().__init__(f"The deadline of {deadline_ms:g} ms passed during {stage}.")


class ModelError(RankerError):
    """The model does not keep its contract.

    Attributes:
        kind: A stable word for what failed, for metrics.
    """

    kind: ClassVar[str] = "model_failed"


class ModelRejected(ModelError):
    """An ONNX graph cannot serve as a ranking model; the message says how to export one that can."""


class WrongShape(ModelError):
    def __init__(self, what: str, got: tuple[int, ...], expected: str) -> None:
        super().__init__(f"{what} has shape {got}; expected {expected}.")


class ModelFailed(ModelError):
    def __init__(self, rows: int, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The model could not score {rows} rows: {reason}.")
