"""Metric files of dead processes: keeps what they counted, in one file for them all, and nothing else.

prometheus_client keeps the files of every process that ever was, so that counters do not go back; each makes every
scrape slower. Owns the lock between who reads files and who merges them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

ADDED = ("counter", "histogram", "summary")
"""The kinds whose values are summed over processes, dead or alive."""
KEPT = ("gauge_sum_", "gauge_min_", "gauge_max_", "gauge_mostrecent_")
"""Gauges that speak for the dead as well; neither BentoML nor Ranker has one."""
NOBODY = 0
"""The process id in the name of the file of all dead."""
LOCK = "lock"


def merge_dead(folder: Path, living: Collection[int]) -> None:
    """Add what processes that are not alive have counted to the file of all dead, and remove theirs.

    Args:
        folder: Where the files are.
        living: The ids of the processes that may write there.
    """
    known = {*living, NOBODY}
    dead = [path for path in folder.glob("*_*.db") if int(path.stem.rpartition("_")[2]) not in known]
    dead = [path for path in dead if not path.name.startswith(KEPT)]
    if not dead:
        return
    # A service that ends removes its folder, at any moment; what nobody can scrape need not be summed.
    with suppress(FileNotFoundError), _locked(folder, fcntl.LOCK_EX):
        for path in dead:
            kind = path.name.partition("_")[0]
            if kind in ADDED and path.stat().st_size:
                _add(folder / f"{kind}_{NOBODY}.db", path)
            path.unlink(missing_ok=True)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Have no file merged into another within the block: its values would be read twice, or not at all."""
    with _locked(folder, fcntl.LOCK_SH):
        yield


def _add(total: Path, path: Path) -> None:
    values = MmapedDict(str(total))
    for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):
        before, _ = values.read_value(key)
        values.write_value(key, before + value, 0.0)
    values.close()


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        os.close(lock)
