import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ranker.errors import ModelRejected
from ranker.scoring.split import files
from ranker.scoring.split.files import Description, SplitChoice, pack, read_note, read_parts, write
from ranker.scoring.split.note import NOT_TRIED, Gain, Kept, Note
from tests.support.models import schema_of_width
from tests.support.splits import cut_mlp

SCHEMA = schema_of_width(5, 3)
PARTS = cut_mlp(SCHEMA).parts
GAIN = Gain(products=100, whole_us=900.0, split_us=90.0, prepare_us=16.2, product_bytes=128)
NOTE = Note(rows=700, difference=3e-7, gain=GAIN, kept=(Kept(operator="Relu", name="a", reason="both sides"),))


def test_gain_counts_rounds_and_what_preparing_takes() -> None:
    assert GAIN.share == pytest.approx(1 - (90 + 0.1 * 100 * 16.2) / 900)
    of_rounds = GAIN.model_copy(update={"round_whole_us": 300.0, "round_split_us": 270.0})
    assert of_rounds.share == pytest.approx(1 - (360 + 324) / 1200)
    assert GAIN.model_copy(update={"prepare_us": 90.0}).share < 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, pack(SplitChoice(NOTE, PARTS)), NOTE)
    return tmp_path


def description() -> Description:
    packed = pack(SplitChoice(NOTE, PARTS))
    assert packed is not None
    return packed.description


def test_parts_and_note_come_back_as_they_were_written(folder: Path) -> None:
    described = Description.read(json.loads(json.dumps(description().to_metadata())))
    assert read_parts(folder, described) == PARTS
    assert read_note(folder) == NOTE
    assert sorted(os.listdir(folder / "split")) == ["pair.onnx", "product.onnx", "request.onnx", "split.json"]


def test_the_same_parts_are_packed_to_the_same_bytes() -> None:
    assert pack(SplitChoice(NOTE, PARTS)) == pack(SplitChoice(Note(), cut_mlp(SCHEMA).parts))


def test_a_graph_that_stays_whole_has_a_note_and_no_parts(tmp_path: Path) -> None:
    note = Note(whole_because="it gains nothing")
    write(tmp_path, pack(SplitChoice(note)), note)
    assert os.listdir(tmp_path / "split") == ["split.json"]
    assert read_note(tmp_path) == note


def test_a_store_of_an_older_version_has_no_note(tmp_path: Path) -> None:
    assert read_note(tmp_path) is NOT_TRIED


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("harm", [Path.unlink, shorten, pipe])
@pytest.mark.parametrize("name", ["request.onnx", "product.onnx", "pair.onnx"])
def test_a_part_that_is_not_what_was_stored_is_refused(folder: Path, name: str, harm: Callable[[Path], None]) -> None:
    harm(folder / "split" / name)
    with pytest.raises(ModelRejected, match=rf"^split/{name} (cannot be read|is not what was stored)"):
        read_parts(folder, description())


def test_a_part_larger_than_any_graph_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_PART_BYTES", 10)
    with pytest.raises(ModelRejected, match="larger than"):
        read_parts(folder, description())


@pytest.mark.parametrize(
    "harm",
    [
        {"format": 2},
        {"format": None},
        {"files": {"request.onnx": 3}},
        {"files": {"../model.onnx": "0" * 64}},
        {"pair_needs_product": ["a"]},
        {"more": 1},
    ],
)
def test_metadata_that_this_version_cannot_read_is_refused(folder: Path, harm: dict[str, object]) -> None:
    with pytest.raises(ModelRejected, match="split"):
        read_parts(folder, Description.read(description().to_metadata() | harm))


@pytest.mark.parametrize("said", [None, [], "x"])
def test_metadata_that_is_no_mapping_is_refused(said: object) -> None:
    with pytest.raises(ModelRejected, match="format None"):
        Description.read(said)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"\xff", b'{"rows": -1', b'{"gain": {"products": 0}}', b'{"difference": NaN}', b"{" * 100_000],
)
def test_a_damaged_note_is_refused_in_one_sentence(folder: Path, content: bytes) -> None:
    (folder / "split" / "split.json").write_bytes(content)
    with pytest.raises(ModelRejected, match=r"^The note on its split is damaged: [^\n]*\.$"):
        read_note(folder)


def test_a_note_larger_than_any_is_not_read(folder: Path) -> None:
    (folder / "split" / "split.json").write_bytes(b" " * (2 << 20))
    with pytest.raises(ModelRejected, match="cannot be read"):
        read_note(folder)


def test_a_note_lists_a_bounded_number_of_operations() -> None:
    many = Note(kept=tuple(Kept(operator="Mul", name=str(i), reason="both") for i in range(10_000)))
    assert len(Note.from_bytes(many.to_bytes()).kept) == 200


def test_preparing_pays_after_as_many_uses_as_its_time_is_of_what_a_use_saves() -> None:
    assert GAIN.uses == pytest.approx(2.0)
    slower = GAIN.model_copy(update={"split_us": 1000.0})
    assert slower.share < 0
    assert slower.uses == float("inf")
