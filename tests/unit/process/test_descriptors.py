from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource
from ranker.process.descriptors import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(raise_limit({wanted}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "wanted", "becomes"), [(64, None, 256), (64, 100, 100), (64, 1000, 256), (200, 100, 200), (256, None, 256)]
)
def test_soft_limit_becomes_what_is_wanted_as_far_as_the_hard_one_allows(
    soft: int, wanted: int | None, becomes: int
) -> None:
    hard = 256
    script = SCRIPT.format(soft=soft, hard=hard, wanted=wanted)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == [str(becomes)] * 2
