from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.api.structure import PARTS, VALUES, has_more

TEXT = st.text(st.sampled_from('[]{}:,"\\\n aé'), max_size=8)
JSON = st.recursive(
    st.none() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def parts(value: object) -> int:
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(parts, value.values()))
    return 1 + sum(map(parts, value)) if isinstance(value, list) else 0


@given(JSON, st.booleans())
def test_arrays_objects_and_names_are_counted_and_nothing_within_strings(value: object, ascii_only: bool) -> None:
    body, count = json.dumps(value, ensure_ascii=ascii_only).encode(), parts(value)
    assert not has_more(body, PARTS, count)
    assert not count or has_more(body, PARTS, count - 1)


@given(st.lists(TEXT, max_size=20))
def test_values_of_an_array_are_counted_but_for_its_first(values: list[str]) -> None:
    body, count = json.dumps(values).encode(), max(len(values) - 1, 0)
    assert not has_more(body, VALUES, count)
    assert not count or has_more(body, VALUES, count - 1)


@pytest.mark.parametrize("body", [b'"', b'"\\', b"\\", b'\\"[', b"\xff[", b'"[[['])
def test_what_is_no_json_is_counted_without_an_error(body: bytes) -> None:
    has_more(body, PARTS, 0)
