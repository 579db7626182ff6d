"""Random models of random shops, served: every answer is ONNX Runtime's for the values as they were written."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from tests.hostile.differential.run import Case


@pytest.mark.slow  # `python -m tests.hostile.differential.run` goes on for as long as it is told
@pytest.mark.parametrize("seed", [2, 403])
def test_answers_are_those_of_the_graph_for_the_values_as_written(
    seed: int, redis_client: Redis, redis_url: str, tmp_path: Path
) -> None:
    redis_client.flushall()
    case = Case(seed, redis_url, tmp_path)
    assert case.run() == []
    assert case.answers == 48
