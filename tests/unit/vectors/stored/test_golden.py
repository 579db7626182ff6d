"""Version 1 stays readable for ever: these bytes were written once and never change.

What they say does not change either; a vector that says infinity is read as such, and refused for it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranker.errors import CorruptVector
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.decoding import RowDecoder
from ranker.vectors.stored.encoding import Dtype, encode

GOLDEN = Path(__file__).parents[3] / "golden"
CASES = json.loads((GOLDEN / "version1.json").read_text())


@pytest.mark.parametrize("case", CASES["vectors"], ids=lambda c: c["name"])
def test_golden_vector_is_read_and_written_alike(case: dict[str, Any]) -> None:
    stored = bytes.fromhex(str(case["hex"]))
    values = np.array([float(v) for v in case["values"]], dtype=np.float32)
    fingerprint = int(str(case["fingerprint"]), 16)
    decoder = RowDecoder(len(values), fingerprint)
    if np.isinf(values).any():
        with pytest.raises(CorruptVector, match="a value is infinite"):
            decoder.decode_one(stored)
    else:
        assert np.array_equal(decoder.decode_one(stored), values, equal_nan=True)
    dtype: Dtype = "float16" if case["dtype"] == "float16" else "float32"
    assert encode([values], fingerprint, dtype) == [stored]


def test_golden_fingerprint_is_unchanged() -> None:
    schema = FeatureSchema.from_mapping(CASES["schema"])
    assert f"{schema.fingerprint:08x}" == CASES["schema_fingerprint"]
