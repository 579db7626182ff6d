"""Version 1 stays readable for ever: these bytes were written once and never change."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranker.decoding import RowDecoder
from ranker.encoding import Dtype, encode
from ranker.schema import FeatureSchema

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = json.loads((GOLDEN / "version1.json").read_text())


@pytest.mark.parametrize("case", CASES["vectors"], ids=lambda c: c["name"])
def test_golden_vector_is_read_and_written_alike(case: dict[str, Any]) -> None:
    stored = bytes.fromhex(str(case["hex"]))
    values = np.array([float(v) for v in case["values"]], dtype=np.float32)
    fingerprint = int(str(case["fingerprint"]), 16)
    assert np.array_equal(RowDecoder(len(values), fingerprint).decode_one(stored), values, equal_nan=True)
    dtype: Dtype = "float16" if case["dtype"] == "float16" else "float32"
    assert encode([values], fingerprint, dtype) == [stored]


def test_golden_fingerprint_is_unchanged() -> None:
    schema = FeatureSchema.from_mapping(CASES["schema"])
    assert f"{schema.fingerprint:08x}" == CASES["schema_fingerprint"]
