"""The benchmarks' pure parts: what is asked, how measurements become cells, and how these are shown."""

from __future__ import annotations

import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks import cold, measuring, sweeps, targets
from benchmarks.harness import alone, answers, load
from benchmarks.harness.cells import Measurement, merge
from benchmarks.harness.contender import CONTENDERS
from benchmarks.harness.processes import role
from benchmarks.harness.surroundings import json_in_json
from benchmarks.overload import compare
from benchmarks.reporting import profiles, report, tables
from benchmarks.run import command
from ranker.demo import synthetic
from ranker.process.cores import usable_cores
from tests.support.pages import page
from tests.unit.benchmarks.results import RPS, make_result

MEASURED = Measurement(
    rps=100.0,
    p50_ms=5.0,
    p99_ms=20.0,
    p999_ms=30.0,
    max_ms=40.0,
    errors=0,
    degraded=0,
    requests=1000,
    seconds=10.0,
    cpu_s_per_1000=1.5,
    redis_cpu_s_per_1000=0.25,
    rss_mb=150.0,
)
WRK_OUTPUT = """Running 1s test @ http://127.0.0.1:1
  1 threads and 1 connections
Requests/sec:   1000.00
{"requests": 1000, "seconds": 2.0, "status": 10, "socket": 3, "p50_ms": 1, "p99_ms": 2, "p999_ms": 3, "max_ms": 4}
"""


def test_contenders_have_the_names_of_the_contract() -> None:
    names = "usual fastapi-tuned bare-asgi limit litserve bentoml-default"
    ours = "ranker-service-whole ranker-local-whole ranker-service ranker-local"
    assert list(CONTENDERS) == f"{names} {ours}".split()
    assert [name for name, contender in CONTENDERS.items() if contender.whole] == ours.split()[:2]
    assert [name for name, contender in CONTENDERS.items() if contender.is_ranker] == ours.split()


def test_generator_result_is_found_after_other_output() -> None:
    assert load.last_json(WRK_OUTPUT)["requests"] == 1000


def test_generator_without_result_is_an_error() -> None:
    with pytest.raises(ValueError, match="no result"):
        load.last_json("unable to connect")


def test_measurement_counts_good_answers_and_all_errors() -> None:
    measured = load.measurement(
        load.last_json(WRK_OUTPUT),
        used=load.Usage(contender=3.0, redis=0.5, generator=0.25, machine=4.0, at=2.0),
        degraded=7,
        memory_mb={"api": 100.0, "runner": 50.0},
    )
    assert measured.rps == 495
    assert measured.errors == 20
    assert (measured.cpu_s_per_1000, measured.redis_cpu_s_per_1000) == (3.0, 0.5)
    assert measured.rss_mb == 150
    assert (measured.generator_cores, measured.others_cores) == (0.125, 0.125)


def test_degraded_answers_are_summed_over_reasons() -> None:
    metrics = (
        "# HELP ranker_degraded_total Degraded answers by reason.\n"
        'ranker_degraded_total{reason="a"} 2.0\nranker_degraded_total{reason="b"} 3.0\nother 9.0\n'
    )
    assert load.degraded_total(metrics) == 5
    assert load.degraded_total("other 9.0\n") == 0


def test_cell_holds_median_total_and_spread_of_rounds() -> None:
    rounds = [
        replace(MEASURED, rps=rps, p99_ms=p99, errors=1) for rps, p99 in ((90.0, 8.0), (200.0, 10.0), (110.0, 9.0))
    ]
    cell = merge(rounds)
    assert (cell["rps"], cell["p99_ms"]) == (110, 9)
    assert cell["spread"] == {"rps": [90, 200], "p99_ms": [8, 10]}
    assert (cell["errors"], cell["requests"], cell["rounds"]) == (3, 3000, 3)


def test_cell_of_one_round_has_no_spread_and_no_empty_figures() -> None:
    cell = merge([MEASURED])
    assert "spread" not in cell
    assert "late_p99_ms" not in cell
    with pytest.raises(ValueError, match="no rounds"):
        merge([])


def test_report_shows_every_cell_and_what_it_does_not_say() -> None:
    result = make_result()
    opened = merge([replace(MEASURED, late_p99_ms=0.5)]) | {"rate": 300.0}
    result["profiles"]["light"]["contenders"]["ranker-local"]["open"] = {"300": opened}
    text = report.markdown(result)
    assert "Small network; 64 + 64 features; 100 of 10,000 products a request." in text
    assert "## Profile `trees`" in text
    assert "| usual | 64 | 100 | 1.0 | 640.0 | 1280.0 | 1920.0 | 2560 | 0 | 1.50 | 0.25 | 150 | 0.00 |" in text
    assert "| bentoml-default | 64 | 80 | 0.8 | 800.0 | 1600.0 | 2400.0 | 3200 | 400 of 1000 |" in text
    assert "| ranker-local | fixed | 300 | 100 |" in text
    assert "| ranker-local | 50 | 3000 |" in text
    assert "| ranker-local | 6.0 | 400 | 1.5% |" in text
    assert "- litserve: it is not installed\n" in text
    assert "## What it does not say" in text


def test_pages_include_tables_that_are_written_beside_the_result(tmp_path: Path) -> None:
    report.write(make_result(), tmp_path)
    light = (tmp_path / "light.md").read_text()
    assert "| bare-asgi | 500 | 1,000 | 500.0 | 1,000.0 | 0 | 1.50 |" in light
    assert "| bentoml-default | 64 | 80 | 800.0 | 1,600.0 | 400 of 1000 | 1.50 |" in light
    assert "2 rounds of 3 s after 1 s of warm-up. Commit `0123456`." in light
    included = set(re.findall(r"\{include\} .*/benchmarks/results/(\S+)", page("benchmarks/comparison")))
    assert included == {"costs.md", "light.md", "profiles.md"} <= {path.name for path in tmp_path.iterdir()}


def test_profiles_are_compared_with_the_bare_app_cold_and_warm() -> None:
    result = make_result()
    result["profiles"]["trees"]["contenders"]["ranker-local"]["alone"]["product_bytes"] = 4378.2
    lines = profiles.profiles_table(result).splitlines()
    assert "| light | ranker-local | 2,500 | 2.5 | 25.6 | 51.2 | 0 | 1.50 | 9.0 | 4.0 | 2.0 | - |" in lines
    assert "| trees | ranker-local | 7,500 | 7.5 | 8.5 | 17.1 | 0 | 1.50 | 9.0 | 4.0 | 2.0 | 4378 |" in lines
    assert len(lines) == 2 + 2 * len(RPS)


@pytest.mark.parametrize(
    ("cold", "warm", "pays_from"),
    [(3.9, 1.0, 1), (4.5, 1.0, 2), (6.0, 1.0, 3), (6.0, 1.5, 5), (6.0, 2.0, None), (4.0, 3.0, 1)],
)
def test_preparing_pays_from_the_ranking_that_makes_up_for_the_first(
    cold: float, warm: float, pays_from: int | None
) -> None:
    split = {"first_ms": 9.0, "cold_ms": cold, "warm_ms": warm}
    assert profiles.Preparing({"cold_ms": 4.0, "warm_ms": 2.0}, split).pays_from == pays_from


def test_split_and_whole_stand_side_by_side() -> None:
    result = make_result()
    contenders = result["profiles"]["trees"]["contenders"]
    contenders["ranker-local-whole"] = deepcopy(contenders["ranker-local"])
    contenders["ranker-local"]["alone"] |= {"cold_ms": 5.0, "warm_ms": 0.5, "product_bytes": 4378.2}
    assert list(profiles.preparing(result)) == [("trees", "ranker-local")]
    row = "| trees | ranker-local | 9.00 / 9.00 | 4.00 / 5.00 | 2.00 / 0.50 | 2 | - / 4378 |"
    assert row in profiles.preparing_table(result)
    assert row in report.markdown(result)


def test_result_of_a_profile_is_that_of_a_run_of_it_alone() -> None:
    result = make_result()
    light = profiles.of_profile(result, "light")
    assert light["commit"] == result["commit"]
    assert light["contenders"] == result["profiles"]["light"]["contenders"]
    assert "profiles" not in light


def test_ratio_of_a_disturbed_cell_is_marked() -> None:
    quiet, disturbed = merge([MEASURED]), merge([replace(MEASURED, others_cores=0.9)])
    contenders = {"usual": {"closed": {"64": quiet}}, "ranker-local": {"closed": {"64": disturbed}}}
    usual, ours = report.closed_table({"contenders": contenders}).splitlines()[2:]
    assert "| 1.0 |" in usual
    assert "| 1.0 (disturbed) |" in ours


@pytest.mark.slow  # measures
def test_observing_is_measured_as_a_share_of_the_quickest_requests() -> None:
    slow, quick = (merge([replace(MEASURED, rps=rps, cpu_s_per_1000=cpu)]) for rps, cpu in ((10.0, 9.0), (20.0, 0.4)))
    found = measuring.measure_observing(
        {"usual": {"closed": {"1": quick}}, "ranker-local": {"closed": {"1": slow, "64": quick}}}
    )
    assert list(found) == ["ranker-local"]
    cost = found["ranker-local"]
    assert cost["request_us"] == 400
    assert cost["us"] > 0
    assert cost["share"] == pytest.approx(cost["us"] / 400, abs=1e-3)


def test_command_holds_no_path_of_this_machine() -> None:
    shown = command(["--quick", "--out", "/srv/x", "--rounds", "2", "--out=/srv/y"])
    assert shown == "python -m benchmarks.run --quick --rounds 2"


def test_tables_have_as_many_cells_in_each_line() -> None:
    lines = tables.table(["a", "b"], [["1", "2"], ["3", "4"]]).splitlines()
    assert {line.count("|") for line in lines} == {3}


def test_json_in_json_is_the_same_vector() -> None:
    row = next(iter(synthetic.product_rows(1)))[0]
    np.testing.assert_array_equal(np.array(json.loads(json.loads(json_in_json(row))), dtype=np.float32), row)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"degraded": True}, "degraded"),
        ({"missing": ["p1"]}, "missing"),
        ({"ranking": ["p2", "p2", "p1"]}, "permutation"),
        ({"scores": [0.9, 0.5]}, "permutation"),
        ({"scores": [0.9, 0.5, 0.2]}, "scores differ"),
        ({"ranking": ["p3", "p1", "p2"], "scores": [0.5, 0.1, 0.9]}, "not in order"),
    ],
)
def test_wrong_answers_are_told(change: dict[str, object], problem: str | None) -> None:
    request = {"productIds": ["p1", "p2", "p3"]}
    answer = {"ranking": ["p2", "p3", "p1"], "scores": [0.9, 0.5, 0.1], **change}
    said = answers.difference(request, np.array([0.1, 0.9, 0.5]), answer)
    assert said is None if problem is None else problem in (said or "")


def test_tolerance_of_large_scores_is_relative() -> None:
    request = {"productIds": ["p1", "p2"]}
    near = {"ranking": ["p1", "p2"], "scores": [1000.005, 500.0]}
    assert answers.difference(request, np.array([1000.0, 500.0]), near) is None
    far = near | {"scores": [1000.02, 500.0]}
    assert "scores differ" in (answers.difference(request, np.array([1000.0, 500.0]), far) or "")


def test_held_rows_are_summed_over_entities() -> None:
    metrics = (
        "# HELP ranker_cache_rows Rows held in the near cache.\n"
        'ranker_cache_rows{entity="user"} 1.0\nranker_cache_rows{entity="product"} 99.0\nranker_cache_bytes 5e+04\n'
    )
    assert alone.held(metrics) == (100, 50_000)


def test_requests_one_at_a_time_are_merged_by_medians() -> None:
    rounds = [{"first_ms": first, "cold_ms": 2.0} for first in (9.0, 3.0, 4.0)]
    assert alone.merge(rounds) == {"first_ms": 4.0, "cold_ms": 2.0}


def test_roles_of_processes_hold_no_paths() -> None:
    worker = ["/opt/python", "-m", "_bentoml_impl.worker.service", "service:Ranker", "--service-name", "ranker_runner"]
    assert role(worker) == "ranker_runner"
    assert role(["/opt/python", "-m", "uvicorn", "--host", "x"]) == "uvicorn"
    assert role(["/opt/python", "/srv/x.py"]) == "helper"


def test_all_cores_are_for_workers_of_ours_and_of_others_alike() -> None:
    usual, bare, *ours = sweeps.on_all_cores()
    workers = f"--workers {usable_cores()}"
    assert [" ".join(other.command).endswith(workers) for other in (usual, bare)] == [True, True]
    assert {one.name: one.settings["RANKER_WORKERS"] for one in ours} == dict.fromkeys(sweeps.NAMES, "auto")


def test_overload_is_compared_with_the_most_before_and_after_it() -> None:
    before, after = replace(MEASURED, rps=100.0, p99_ms=10.0), replace(MEASURED, rps=200.0, p99_ms=30.0)
    figures = compare({"rps": 300.0, "goodput": 75.0, "good_p99_ms": 40.0}, before, after)
    assert (figures["offered_of_most"], figures["goodput_of_most"], figures["good_p99_of_most"]) == (2.0, 0.5, 2.0)


def test_outcomes_are_counted_between_two_looks() -> None:
    before, after = (
        targets.outcomes_in(
            f'ranker_requests_total{{outcome="ok"}} {ok}\nranker_requests_total{{outcome="overloaded"}} {refused}\n'
            'ranker_requests_created{outcome="ok"} 1e9\n'
        )
        for ok, refused in ((5.0, 2.0), (25.0, 2.0))
    )
    assert targets.counted(before, after) == {"ok": 20}
    assert targets.counted({}, after) == {"ok": 25, "overloaded": 2}


def test_busy_neighbour_keeps_one_core_busy_and_ends() -> None:
    me = psutil.Process()
    with targets.busy_neighbour():
        (neighbour,) = (child for child in me.children() if targets.BUSY in child.cmdline())
        while not sum(neighbour.cpu_times()[:2]) or len(neighbour.cpu_affinity()) > 1:
            assert neighbour.is_running()
        assert neighbour.cpu_affinity() == [min(os.sched_getaffinity(0))]
    assert not neighbour.is_running()


def test_cold_requests_are_shown_with_the_ratio_of_starts_of_one_turn() -> None:
    slow, quick = cold.Cost(4.0, 3.0), cold.Cost(2.0, 1.5)
    starts = {
        "ranker-service-whole": [[slow, quick, quick, slow], [quick, quick, quick]],
        "ranker-service": [[quick, slow, slow, quick], [slow, quick, quick]],
        "ranker-local-whole": [[quick, slow], [quick, slow]],
        "ranker-local": [[quick, quick], [quick, quick]],
    }
    _, _, *lines = cold.make_table("ids", starts).splitlines()
    cells = [[cell.split(" (")[0] for cell in line.strip("| ").split(" | ")] for line in lines]
    assert cells == [
        ["ids, service", "first", "3.00", "3.00", "2.25", "2.25", "1.25"],
        ["ids, service", "later", "2.00", "3.00", "1.50", "2.25", "1.50"],
        ["ids, local", "first", "2.00", "2.00", "1.50", "1.50", "1.00"],
        ["ids, local", "later", "4.00", "2.00", "3.00", "1.50", "0.50"],
    ]


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="the kernel tells no thread's CPU")
def test_cpu_of_a_request_is_that_of_all_threads() -> None:
    with ThreadPoolExecutor(1) as pool:
        before = cold.cpu_ms([os.getpid()])
        pool.submit(spend, 0.02).result()
        assert cold.cpu_ms([os.getpid()]) - before >= 20


def spend(cpu_s: float) -> None:
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        pass
