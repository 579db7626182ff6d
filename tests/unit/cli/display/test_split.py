"""The words about a split that `model import` and `model show` print."""

from __future__ import annotations

import pytest

from ranker.cli.display.split import split_pairs
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.model import OnnxModel
from ranker.scoring.split.model import SplitModel
from ranker.scoring.split.note import Gain, Note
from tests.support.models import schema_of_width
from tests.support.splits import cut_mlp

SCHEMA = schema_of_width(3, 2)
GAIN = Gain(products=100, whole_us=900.0, split_us=90.0, prepare_us=16.2, product_bytes=128)


@pytest.mark.parametrize(
    ("split_us", "says"),
    [(90.0, "pays from 2 uses"), (899.9, "hardly ever pays"), (900.0, "hardly ever pays"), (1e3, "hardly ever pays")],
)
def test_it_is_said_from_how_many_uses_on_preparing_pays_if_it_ever_does(split_us: float, says: str) -> None:
    cut = cut_mlp(SCHEMA)
    note = Note(gain=GAIN.model_copy(update={"split_us": split_us}))
    loaded = LoadedModel(SCHEMA, lambda: OnnxModel(cut.whole, SCHEMA), SplitModel(cut.parts, SCHEMA), note)
    assert split_pairs(loaded)["Product part"] == f"128 bytes of the cache and 16.2 us for each product; {says}"
