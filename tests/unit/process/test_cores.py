"""Control groups as Linux shows them, in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranker.process.cores import PROC, usable_cores

ALL = usable_cores(Path("/nowhere"))
V2 = "31 23 0:28 {root} {top} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "35 31 0:31 {root} {top}/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
OTHERS = "23 1 0:21 / / rw - ext4 /dev/sda1 rw\n36 31 0:32 / {top}/memory rw - cgroup cgroup rw,memory"
ONE, HALF, NONE = "100000 100000\n", "50000 100000\n", "max 100000\n"


def cores(place: Path, membership: str, mount: str, limits: dict[str, str], root: str = "/") -> int:
    """Say what is found for these lines of cgroup and mountinfo, and limits by group; v1 keeps them in two files."""
    top = place / "cgroup"
    proc = place / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(f"1:name=systemd:/elsewhere\n{membership}\n")
    (proc / "mountinfo").write_text("\n".join([OTHERS, mount]).format(root=root, top=top) + "\n")
    for group, limit in limits.items():
        folder = top / group
        folder.mkdir(parents=True, exist_ok=True)
        if mount == V2:
            (folder / "cpu.max").write_text(limit)
        else:
            quota, _, period = limit.partition(" ")
            (folder / "cpu.cfs_quota_us").write_text(quota.replace("max", "-1"))
            (folder / "cpu.cfs_period_us").write_text(period)
    return usable_cores(proc)


needs_two = pytest.mark.skipif(ALL < 2, reason="a machine of one core has no quota to see")


@needs_two
@pytest.mark.parametrize(
    "limits",
    [
        {"system.slice/ranker.service": ONE},
        {"system.slice/ranker.service": NONE, "system.slice": ONE},
        {"system.slice/ranker.service": NONE, "system.slice": NONE, "": HALF},
        {"system.slice/ranker.service": ONE, "system.slice": "800000 100000\n"},
        {"system.slice/ranker.service": "800000 100000\n", "system.slice": HALF},
    ],
)
def test_smallest_quota_binds_wherever_it_stands_v2(tmp_path: Path, limits: dict[str, str]) -> None:
    assert cores(tmp_path, "0::/system.slice/ranker.service", V2, limits) == 1


@needs_two
@pytest.mark.parametrize(
    "limits",
    [
        {"cpu,cpuacct/kubepods/pod1/c1": ONE},
        {"cpu,cpuacct/kubepods/pod1/c1": NONE, "cpu,cpuacct/kubepods/pod1": ONE},
        {"cpu,cpuacct/kubepods/pod1/c1": NONE, "cpu,cpuacct": HALF},
    ],
)
def test_smallest_quota_binds_wherever_it_stands_v1(tmp_path: Path, limits: dict[str, str]) -> None:
    assert cores(tmp_path, "4:cpu,cpuacct:/kubepods/pod1/c1", V1, limits) == 1


@needs_two
def test_container_whose_group_is_mounted_as_the_root_is_seen(tmp_path: Path) -> None:
    limits = {"cpu,cpuacct": ONE}
    assert cores(tmp_path, "4:cpu,cpuacct:/docker/1f2e", V1, limits, root="/docker/1f2e") == 1


@needs_two
def test_container_with_the_hosts_path_and_a_mount_of_its_own_is_seen(tmp_path: Path) -> None:
    assert cores(tmp_path, "4:cpu,cpuacct:/docker/1f2e", V1, {"cpu,cpuacct": ONE}) == 1


@needs_two
def test_container_with_a_namespace_of_its_own_is_seen(tmp_path: Path) -> None:
    assert cores(tmp_path, "0::/", V2, {"": HALF}) == 1


@pytest.mark.parametrize("limit", [NONE, "nonsense", "", "0 100000\n"])
def test_no_limit_leaves_all_cores(tmp_path: Path, limit: str) -> None:
    assert cores(tmp_path, "0::/a/b", V2, {"a/b": limit, "a": limit, "": limit}) == ALL


@needs_two
def test_limit_on_other_things_and_of_other_groups_does_not_count(tmp_path: Path) -> None:
    assert cores(tmp_path, "0::/a", V2, {"a": NONE, "b": ONE, "elsewhere": ONE}) == ALL


def test_this_machine_can_be_read() -> None:
    assert 1 <= usable_cores(PROC) <= ALL
