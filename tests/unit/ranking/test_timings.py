from ranker.ranking.timings import Moments, Timings, total_header


def test_header_has_each_step_in_milliseconds() -> None:
    timings = Timings(
        queue=0.001, fetch=0.002, decode=9.0, assemble=0.003, score=1.0045, rank=0.005, serialise=9.0, total=2.5
    )
    assert timings.to_header() == (
        b"fetch;dur=2.000, assemble;dur=3.000, score;dur=1004.500, total;dur=2500.000, queue;dur=1.000, rank;dur=5.000"
    )


def test_request_without_steps_has_its_total_in_milliseconds() -> None:
    assert total_header(2.5) == b"total;dur=2500.000"


def test_each_step_is_the_time_since_the_one_before() -> None:
    moments = Moments(arrived=1.0, began=2.0, fetched=4.0, assembled=8.0, scored=16.0, ranked=32.0)
    assert moments.timings(decode_s=0.5, rendered=64.0) == Timings(
        queue=1.0, fetch=2.0, decode=0.5, assemble=4.0, score=8.0, rank=16.0, serialise=32.0, total=63.0
    )
