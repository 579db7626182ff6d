"""What a compiled graph says of the one that it was made from."""

from __future__ import annotations

import pytest

from ranker.scoring.graph.compiled import NOTE, Compiled, OriginalInput, read_note

TAKES = tuple(f"user.f{i}" for i in range(8))


@pytest.mark.parametrize(
    ("takes", "said"),
    [
        (TAKES[:1], "user.f0"),
        (TAKES[:6], ", ".join(TAKES[:6])),
        (TAKES[:7], ", ".join(TAKES[:6]) + " and 1 more"),
        (TAKES, ", ".join(TAKES[:6]) + " and 2 more"),
    ],
)
def test_input_of_the_exported_graph_is_said_with_its_shape_type_and_the_first_six_that_fill_it(
    takes: tuple[str, ...], said: str
) -> None:
    given = OriginalInput("ids", "tensor(int64)", (None, "length", 3), takes, "their names")
    assert str(given) == f"ids (?, length, 3) int64 = {said}"


def test_outputs_of_a_formula_are_found_by_name_and_column() -> None:
    parts = {
        "click": "probabilities (n, 2) float32, column 1",
        "buy": "buy (n,) float64",
        "first": "probabilities (n, 2) float32, column 0",
        "gone": "nowhere (n,) float32",
        "label": "label (n,) int64",
    }
    compiled = Compiled("rows", (), parts=parts)
    names = ["prob", "label", "probabilities", "buy"]
    assert compiled.joined(names) == {"click": ("probabilities", 1), "buy": ("buy", 0), "first": ("probabilities", 0)}
    assert compiled.joined([]) == Compiled("rows", ()).joined(names) == {}


def test_note_is_read_as_it_was_written_and_does_not_depend_on_the_order_of_names() -> None:
    inputs = (OriginalInput("ids", "tensor(int64)", (None, 3), ("user.viewed",), "its name"),)
    parts, classes = {"b": "b (n,) float32", "a": "a (n,) float32"}, {"q": ("no", "yes"), "p": ("1", "2")}
    made = Compiled("rows", inputs, "scores", parts, classes, ("user.age",), ("ids were cast",))
    assert read_note({NOTE: made.to_note()}) == made
    turned = [dict(reversed(given.items())) for given in (parts, classes)]
    assert Compiled("rows", inputs, "scores", *turned, made.unused, made.notes).to_note() == made.to_note()  # type: ignore[arg-type]  # of two types
    assert read_note({}) is None
