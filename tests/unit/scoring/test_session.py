import numpy as np
import pytest
from onnx import TensorProto, helper

from ranker.errors import ModelFailed, ModelRejected
from ranker.scoring.session import Session
from tests.support.models import onnx_bytes, tensor


def looked_up(name: str = "") -> Session:
    """A graph that looks ids up in a table of four, by an operator of this name."""
    node = helper.make_node("Gather", ["table", "ids"], ["found"], name=name)
    return Session(
        onnx_bytes(
            [node],
            [tensor("ids", ["n"], TensorProto.INT64)],
            [tensor("found", ["n"])],
            {"table": np.arange(4, dtype=np.float32)},
        )
    )


def counting() -> Session:
    """A graph that counts, one by one, for so many rounds as are asked for."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("Add", ["count", "count_by"], ["counted"]),
        ],
        "body",
        [tensor("round", [], TensorProto.INT64), tensor("go_on", [], TensorProto.BOOL), tensor("count", [1])],
        [tensor("goes_on", [], TensorProto.BOOL), tensor("counted", [1])],
    )
    loop = helper.make_node("Loop", ["rounds", "", "start"], ["end"], body=body)
    inputs = [tensor("rounds", [], TensorProto.INT64), tensor("start", [1])]
    return Session(onnx_bytes([loop], inputs, [tensor("end", [1])], {"count_by": np.ones(1, np.float32)}))


def fail(session: Session, ids: list[int] | None) -> str:
    """Why a run fails."""
    feeds = {} if ids is None else {"ids": np.array(ids)}
    with pytest.raises(ModelFailed) as failed:
        session.run(["found"], feeds, 2)
    return failed.value.reason


def test_a_failure_gives_what_went_wrong_without_onnx_runtimes_codes_and_further_lines() -> None:
    assert fail(looked_up(), None) == "Required inputs (['ids']) are missing from input feed ([])"
    assert fail(looked_up("this : that"), [9]).startswith("that' Status Message: indices element out of data bounds")
    assert fail(looked_up("first\nsecond"), [9]).endswith("Name:'first")
    assert len(fail(looked_up("x" * 1000), [9])) == 300


def test_a_failure_keeps_a_name_to_its_last_letter() -> None:
    with pytest.raises(ModelFailed) as failed:
        looked_up().run(["found"], {"ids": np.array([1]), "PRICE_MAX": np.array([1])}, 1)
    assert failed.value.reason == "Invalid input name: PRICE_MAX"


def test_a_run_that_does_not_end_in_its_time_is_ended_and_the_next_one_has_all_time() -> None:
    session, start = counting(), np.zeros(1, np.float32)
    with session.limited(0.01), pytest.raises(ModelRejected, match=r"did not end within 0\.01 s"):
        session.run(["end"], {"rounds": np.array(10**12), "start": start}, 1)
    assert session.run(["end"], {"rounds": np.array(30_000), "start": start}, 1)[0].tolist() == [30_000]


def test_a_session_has_one_thread_unless_told_otherwise() -> None:
    assert looked_up()._session.get_session_options().intra_op_num_threads == 1
