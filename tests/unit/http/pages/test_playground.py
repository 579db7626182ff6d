"""Playground: it has words for every reason that an explanation may give."""

import re
from pathlib import Path
from typing import get_args

import pytest

from ranker.api.explain import Limit, Vector
from ranker.http.pages import playground

PAGE = Path(playground.__file__).with_name("play.html").read_text()
REASONS = {word for part in get_args(Vector.model_fields["reason"].annotation) for word in get_args(part)}


@pytest.mark.parametrize(("table", "words"), [("LIMITS", {*get_args(Limit)}), ("WHY", REASONS)])
def test_playground_has_words_for_each_reason(table: str, words: set[str]) -> None:
    said = re.search(rf"const {table} = {{(.*)}};", PAGE)
    assert said is not None
    assert {*re.findall(r"(\w+): \"", said[1])} == words
