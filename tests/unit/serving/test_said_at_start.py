"""What the log says once a start: which graph of each model scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranker.scoring.registry import find_model, store_model
from ranker.scoring.split.files import SplitChoice
from ranker.scoring.split.note import Note
from ranker.serving import preflight
from ranker.settings.environment import Settings
from tests.support.models import schema_of_width, temporary_model_store
from tests.support.splits import cut_mlp

SCHEMA = schema_of_width(3, 4)


def test_the_log_says_which_graph_scores_and_why(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut = cut_mlp(SCHEMA)
    choices = {"1": SplitChoice(Note(), cut.parts), "2": SplitChoice(Note(whole_because="it gains nothing"))}
    with temporary_model_store(tmp_path):
        tags = [store_model(cut.whole, SCHEMA, "shop", v, split=choice)[0] for v, choice in choices.items()]
        preflight.check(Settings(redis_url=redis_url), map(find_model, tags))
    said = [record.getMessage() for record in caplog.records if record.name == preflight.logger.name]
    assert said == ["Model shop:1 scores in parts", "Model shop:2 scores whole: it gains nothing"]
