import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ranker.process.memory import YOUNG_OBJECTS, freeze

FAULTS = """
import resource, sys
import numpy as np
from ranker.process.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def use():
    for _ in range(200):
        np.empty(1 << 18, np.float32).fill(1)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how],
        capture_output=True,
        text=True,
        check=True,
        env={"MALLOC_TRIM_THRESHOLD_": "100000", "MALLOC_MMAP_THRESHOLD_": "100000"},
        timeout=60,
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is Linux'")
def test_freed_arrays_are_used_again_without_asking_the_kernel() -> None:
    assert faults("given back") > 1000
    assert faults("kept") < 100


HELD = """
import psutil
from ranker.process.memory import give_back_freed_memory, keep_freed_memory
keep_freed_memory()
blocks = [bytearray(b"x" * (1 << 20)) for _ in range(100)]
del blocks[::2], blocks[1::2]
freed = psutil.Process().memory_info().rss
give_back_freed_memory()
print((freed - psutil.Process().memory_info().rss) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is Linux'")
def test_memory_between_what_is_held_is_given_back_when_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) > 60


@pytest.fixture
def frozen() -> Iterator[None]:
    thresholds = gc.get_threshold()
    freeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("frozen")
def test_frozen_objects_are_out_of_the_collectors_sight() -> None:
    assert gc.get_freeze_count() > 1000


@pytest.mark.usefixtures("frozen")
def test_collector_looks_when_there_are_thousands_of_new_objects_and_not_before() -> None:
    def looked() -> int:
        collections: int = gc.get_stats()[0]["collections"]
        return collections

    before = looked()
    held: list[list[int]] = [[] for _ in range(YOUNG_OBJECTS // 2)]
    assert looked() == before
    held += [[] for _ in range(YOUNG_OBJECTS)]
    assert looked() == before + 1
