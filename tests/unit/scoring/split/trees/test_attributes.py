from enum import IntEnum

import numpy as np
import pytest

from ranker.scoring.split.trees.attributes import (
    NotSplittable,
    find_named,
    find_numbered,
    read_floats,
    read_int,
    read_ints,
    read_text,
    read_texts,
)


class Colour(IntEnum):
    RED = 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["values", "values_as_tensor"])
def test_numbers_of_a_tensor_keep_their_type(name: str, dtype: type) -> None:
    read = read_floats({name: np.array([[0.1, 0.2], [0.3, 0.4]], dtype)}, "values")
    assert read.dtype == dtype
    assert read.tolist() == np.array([0.1, 0.2, 0.3, 0.4], dtype).tolist()


def test_numbers_of_a_list_are_float32_that_were_made_wider() -> None:
    read = read_floats({"values": [0.1, 2.0]}, "values")
    assert read.dtype == np.float32
    assert read_floats({}, "values").tolist() == []


@pytest.mark.parametrize("name", ["values", "values_as_tensor"])
def test_a_tensor_of_other_numbers_stays_in_the_graph(name: str) -> None:
    with pytest.raises(NotSplittable, match=f"^{name} is of int64$"):
        read_floats({name: np.array([1, 2])}, "values")


def test_integers_are_as_many_as_are_needed() -> None:
    assert read_ints({"ids": np.array([[1, 2], [3, 4]])}, "ids", 4) == [1, 2, 3, 4]
    with pytest.raises(NotSplittable, match="ids has 2 entries where 3 are needed"):
        read_ints({"ids": [1, 2]}, "ids", 3)


def test_texts_come_as_bytes_or_as_texts() -> None:
    assert read_texts({"modes": [b"LEQ", "LT"]}, "modes") == ["LEQ", "LT"]
    assert [read_text({"mode": given}, "mode", "SUM") for given in (b"MIN", "MIN")] == ["MIN", "MIN"]
    assert read_text({}, "mode", "SUM") == "SUM"
    assert (read_int({}, "targets", 5), read_int({"targets": 2}, "targets", 5)) == (5, 2)


def test_what_has_no_such_name_or_number_stays_in_the_graph() -> None:
    assert find_named(Colour, "RED") is find_numbered(Colour, 3) is Colour.RED
    with pytest.raises(NotSplittable, match="'BLUE' is not known"):
        find_named(Colour, "BLUE")
    with pytest.raises(NotSplittable, match="colour 4 is not known"):
        find_numbered(Colour, 4)
