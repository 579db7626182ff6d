"""CPU quota: how many cores this process may use, by its affinity and by the limits of its control groups.

A limit may stand at the process's own group or at any above it, and the smallest binds: a systemd slice, a pod, a
container. Owns where Linux says so (cgroups(7), proc_pid_mountinfo(5)); elsewhere only affinity counts.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")


def usable_cores(proc: Path = PROC) -> int:
    """Return the cores this process may use, at least 1: its affinity, within every quota above it, rounded up.

    Args:
        proc: Where the kernel tells of this process.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for group in _groups(proc) if (quota := _quota(group)) is not None]
    return max(1, min(cores, math.ceil(min(quotas, default=cores))))


def _groups(proc: Path) -> Iterator[Path]:
    """Yield the folders of this process's CPU groups, versions 1 and 2, its own first and then each above it."""
    try:
        memberships = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return
    own = {}
    for line in memberships:  # 0::/user.slice or 4:cpu,cpuacct:/docker/1f2e
        _, controllers, group = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            own["cgroup" if controllers else "cgroup2"] = PurePosixPath(group)
    for line in mounts:  # 31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw
        place, _, kind = line.partition(" - ")
        root, mounted = place.split()[3:5]
        filesystem, _, options = kind.split()[:3]
        if filesystem not in own or (filesystem == "cgroup" and "cpu" not in options.split(",")):
            continue
        path = own[filesystem]
        # A container may see its own group mounted as if it were the root; then the rest of the path is not there.
        below = path.relative_to(root) if path.is_relative_to(root) else path.relative_to("/")
        folder = Path(mounted) / below
        yield folder
        yield from folder.parents[: len(below.parts)]


def _quota(group: Path) -> float | None:
    """Return the cores' worth of time that a group has; None when it has no limit, or is not there."""
    try:
        if (group / "cpu.max").exists():
            limit, period = (group / "cpu.max").read_text().split()
        else:
            limit = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if limit != "max" and int(limit) > 0 else None
    except (OSError, ValueError):
        return None
