"""Ids for the playground to begin with: how often the store is asked, and what is said when it does not answer."""

from __future__ import annotations

import asyncio
from threading import get_ident
from typing import Any

import orjson
import pytest

from ranker.errors import StoreUnavailable
from ranker.http.pages import example_ids
from ranker.http.pages.example_ids import ExampleIds


async def ask(app: ExampleIds) -> dict[str, Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http"}, None, send)  # type: ignore[arg-type]  # nothing is read
    assert sent[0]["status"] == 200
    answer: dict[str, Any] = orjson.loads(sent[1]["body"])
    return answer


def test_store_is_asked_once_for_all_who_come_meanwhile_and_off_the_loop() -> None:
    threads: list[int] = []

    def find(wanted: int) -> tuple[list[str], list[str]]:
        threads.append(get_ident())
        return ["u"], ["p"]

    async def many() -> list[dict[str, Any]]:
        app = ExampleIds(find)
        return [*await asyncio.gather(*(ask(app) for _ in range(5))), await ask(app)]

    assert asyncio.run(many()) == [{"users": ["u"], "products": ["p"], "failure": None}] * 6
    assert len(threads) == 1
    assert threads[0] != get_ident()


def test_store_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter(["first", "second"])
    monkeypatch.setattr(example_ids, "KEPT_S", 0.0)

    async def twice() -> list[Any]:
        app = ExampleIds(lambda wanted: ([next(found)], []))
        return [(await ask(app))["users"] for _ in range(2)]

    assert asyncio.run(twice()) == [["first"], ["second"]]


def test_failure_is_a_sentence_and_no_error() -> None:
    def find(wanted: int) -> tuple[list[str], list[str]]:
        raise StoreUnavailable("NOPERM this user has no permissions to run the 'scan' command")

    answer = asyncio.run(ask(ExampleIds(find)))
    assert (answer["users"], answer["products"]) == ([], [])
    assert "NOPERM" in answer["failure"]
