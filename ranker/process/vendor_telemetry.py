"""Vendor telemetry: what BentoML and ONNX Runtime would report to their makers, switched off.

Owns the variables that say so to each of them, for this process and those that it starts. Whoever sets one of them is
not overruled. Knows neither package: both must hear of it before they begin.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

OFF: Mapping[str, str] = MappingProxyType(
    {
        # Commands, starts and stops; where its receiver cannot be reached, each took 10 s longer.
        "BENTOML_DO_NOT_TRACK": "True",
        # A device id, the machine, the interpreter's path, the graph's hash: from 10 s after the first session on, kept
        # in ~/.cache/Microsoft meanwhile. Read when onnxruntime is imported.
        "ORT_DISABLE_TELEMETRY": "1",
    }
)


def switch_off() -> None:
    """Say no to what this process is about to import, unless its environment says something already."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
