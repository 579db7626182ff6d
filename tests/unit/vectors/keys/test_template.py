"""Which ids a key's template can make of texts that fit its places."""

from __future__ import annotations

import pytest

from ranker.vectors.keys.template import KeyTemplate


def is_word(text: str) -> bool:
    return text.isalpha()


def is_number(text: str) -> bool:
    return text.isdigit()


def is_any(text: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("identifier", "may"), [("a:1", True), ("a:b:1", False), ("a:", False), (":1", False), ("a", False), ("1:a", False)]
)
def test_an_id_is_of_a_template_where_each_text_fits_its_place(identifier: str, may: bool) -> None:
    template = KeyTemplate.parse("g:{userId}:{context.at}")
    assert template.may_make(identifier, [is_word, is_number]) is may


def test_every_split_of_an_id_is_tried() -> None:
    two = KeyTemplate.parse("g:{userId}:{context.at}")
    for identifier in ("a:1:2", "a:b:1", ":", "a:1:"):
        assert two.may_make(identifier, [is_any, is_any])
    assert two.may_make("a:1:2", [is_any, is_number])
    assert two.may_make("a:1:2", [is_word, is_any])
    assert not two.may_make("a:1:2", [is_word, is_number])
    assert two.may_make(":", [lambda text: not text] * 2)
    assert two.may_make("ab:", [is_word, is_any])


def test_texts_with_nothing_between_them_may_be_parted_anywhere() -> None:
    template = KeyTemplate.parse("g:{userId}{context.at}")
    assert template.may_make("a1", [is_word, is_number])
    assert not template.may_make("1a", [is_word, is_number])
    assert template.may_make("", [is_any, is_any])
    assert template.may_make("ab", [is_word, lambda text: not text])
    assert template.may_make("12", [lambda text: not text, is_number])


def test_each_text_of_three_is_held_to_its_own_place_and_what_is_between_them() -> None:
    template = KeyTemplate.parse("g:{userId}--{context.at}:{productId}")
    fits = [is_word, is_number, is_word]
    assert template.may_make("a--1:b", fits)
    for other in ("a:1--b", "a-1:b", "1--1:b", "a--b:b", "a--1:1", "a--1", "a1:b"):
        assert not template.may_make(other, fits)


def test_the_id_of_a_template_with_one_place_is_its_text() -> None:
    template = KeyTemplate.parse("g:{userId}")
    assert template.may_make("a", [is_word])
    assert not template.may_make("1", [is_word])
