import gc
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from ranker.memory import keep_freed_memory
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


def test_frozen_objects_are_out_of_the_collectors_sight() -> None:
    from ranker.memory import freeze

    try:
        freeze()
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()
