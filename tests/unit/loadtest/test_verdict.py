"""What is made of a recording."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ranker.cli.display.bench import Display, plot
from ranker.errors import InvalidIds, UnknownIds
from ranker.loadtest.ids import demo_ids, read_ids
from ranker.loadtest.recording import Figures, Recording
from ranker.loadtest.run import Run
from ranker.loadtest.verdict import Thresholds, judge

LIMITS = Thresholds(max_p99_ms=50, max_error_rate=0.01)


def recorded(latencies_ms: list[float], late_ms: float = 0.0, cpu_share: float = 0.1, **errors: int) -> Figures:
    recording = Recording()
    for latency_ms in latencies_ms:
        recording.answered(latency_ms / 1e3, 200, b"")
        recording.lateness_s.append(late_ms / 1e3)
    recording.errors.update(errors)
    return replace(recording.figures(1.0), cpu_share=cpu_share)


def test_percentiles_are_exact() -> None:
    figures = recorded([float(ms) for ms in range(1, 101)])
    assert figures.latency["p50_ms"] == pytest.approx(50.5)
    assert figures.latency["p99_ms"] == pytest.approx(99.01)
    assert figures.latency["max_ms"] == pytest.approx(100)


def test_thresholds_that_hold_and_a_generator_that_kept_up() -> None:
    verdict = judge(recorded([10.0] * 100, degraded=1), 100, LIMITS, "locust")
    assert verdict.held
    assert not verdict.generator_limited
    assert verdict.line == (
        "held | 100 requests at 100/s, p50 10.0 ms, p99 10.0 ms, 1 failed (1 degraded) | "
        "locust kept up (10% of a core, 0.0 ms late at p99)"
    )


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        (recorded([60.0] * 100), "p99 60.0 ms is above 50 ms"),
        (recorded([10.0] * 100, degraded=2), "2.00% failed (2 degraded), above 1.00%"),
        (recorded([]), "nothing was sent"),
    ],
)
def test_broken_thresholds_are_named(figures: Figures, reason: str) -> None:
    verdict = judge(figures, 100, LIMITS, "locust")
    assert not verdict.held
    assert verdict.line.startswith(f"FAILED: {reason} | ")


def test_generator_is_named_when_it_is_the_bottleneck() -> None:
    busy = judge(recorded([10.0] * 100, cpu_share=0.95), 100, LIMITS, "locust")
    beyond = judge(recorded([10.0] * 100), 100, LIMITS, "locust", own_limit=90)
    late = judge(recorded([10.0] * 100, late_ms=5), 100, LIMITS, "locust")
    assert "locust, not the service, was the bottleneck (95% of a core" in busy.line
    assert "locust, not the service, was the bottleneck" in beyond.line
    assert "alone it manages 90/s here" in beyond.line
    assert "locust was held up by other work" in late.line
    assert busy.generator_limited
    assert beyond.generator_limited
    assert late.generator_limited


def test_parts_put_together_are_the_whole() -> None:
    one, whole = Recording(), Recording()
    for latency_s in (0.1, 0.2, 0.3):
        one.answered(latency_s, 200, b'{"missing":["p1"]}')
        one.unanswered(10.0)
        whole.extend(one.drain())
    assert not one.latencies_s
    assert list(whole.latencies_s) == [0.1, 10.0, 0.2, 10.0, 0.3, 10.0]
    assert (whole.errors, whole.incomplete, len(whole.good_s)) == ({"unanswered": 3}, 3, 3)


def test_display_shows_the_last_second_beside_the_whole() -> None:
    from rich.console import Console

    run = Run()
    for latency_s in (0.5, 0.001):
        part = Recording()
        part.answered(latency_s, 200, b"")
        part.lateness_s.append(0.0)
        run.add(part.drain() | {"wall_s": 1.0, "in_flight": 7})
    console = Console(width=100)
    with console.capture() as capture:
        console.print(Display("http://x", 300, 60).render(run))
    shown = capture.get().splitlines()
    assert next(line.split() for line in shown if "last second" in line)[2:] == ["1", "1.0", "1.0", "1.0", "0"]
    assert next(line.split() for line in shown if "whole run" in line)[-2:] == ["500.0", "0"]
    assert any("7 in flight" in line for line in shown)
    assert plot(run.seconds) == "█▁  (highest 500.0 ms)"


def test_ids_are_read_one_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ids"
    for encoding in ("utf-8", "utf-8-sig"):
        file.write_text("a\n\n b \nä\n", encoding=encoding)
        assert read_ids(file) == ["a", "b", "ä"]
    for text, reason in (("\n", "empty"), ("a\na\n", "repeats")):
        file.write_text(text)
        with pytest.raises(InvalidIds, match=reason):
            read_ids(file)
    with pytest.raises(InvalidIds, match="No such file"):
        read_ids(tmp_path / "absent")
    monkeypatch.setattr("ranker.loadtest.ids.MAX_BYTES", 10 << 20)
    with pytest.raises(InvalidIds, match="it is larger than 10 MiB"):
        read_ids(Path("/dev/zero"))


def test_ids_of_the_demo_are_those_of_the_model_that_is_served(tmp_path: Path) -> None:
    models = {"ranker-demo": "ranker-demo:a", "ranker-synthetic": "ranker-synthetic:b"}
    other = {"recipe": "", "schema": {}, "quality": None, "users": 2, "products": 3}
    (tmp_path / "demo.json").write_text(json.dumps({name: {**other, "model": tag} for name, tag in models.items()}))
    assert demo_ids(tmp_path, "ranker-demo:a").products == ["0", "1", "2"]
    assert demo_ids(tmp_path, "ranker-synthetic:b").users == ["u0000001", "u0000002"]
    with pytest.raises(UnknownIds, match="shoes:1"):
        demo_ids(tmp_path, "shoes:1")
