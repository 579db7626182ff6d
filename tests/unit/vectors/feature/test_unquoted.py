"""What YAML makes no text of is named as what it was read as, once for a name, a key and a list of texts."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ranker.vectors.feature.unquoted import describe, require_text, require_text_keys, require_texts

READ = [
    (True, "on, yes and true as a boolean"),
    (False, "off, no and false as a boolean"),
    (None, "null, ~ and nothing at all as no value"),
    (date(2026, 1, 2), "it as the date 2026-01-02"),
    (1.5, "it as the number 1.5"),
]


@pytest.mark.parametrize(("value", "reading"), READ, ids=str)
def test_value_is_named_as_yaml_reads_it(value: Any, reading: str) -> None:
    for refuse, given, what in (
        (require_text, value, "it"),
        (require_text_keys, {"a": 1, value: 2}, "each key"),
        (require_texts, ["a", value], "each text"),
    ):
        with pytest.raises(ValueError, match="put quotes") as refused:
            refuse(given)
        assert str(refused.value) == f"put quotes round {what}, for YAML reads {reading}"
    assert describe(value) == {"name": value}


@pytest.mark.parametrize("value", ["a", [], {}, ["a", "b"], ("a",), {"a": 1}, [["a"]]], ids=str)
def test_what_yaml_reads_as_text_or_as_something_else_passes(value: Any) -> None:
    assert require_text(value) is value
    assert require_text_keys(value) is value
    if value != [["a"]]:
        assert require_texts(value) is value
    assert require_texts(5) == require_text_keys(5) == 5
