"""How many CPUs a process has: affinity and control groups, as files of every form and for real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fungi_onnx import cpus

CPUS = len(os.sched_getaffinity(0))
V2_MOUNT = "30 24 0:26 {root} {at} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "33 30 0:29 {root} {at} rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"


def machine(tmp_path: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """A root folder with these files in ``/proc`` and ``/sys``."""
    for name, text in {
        "proc/self/cgroup": groups,
        "proc/self/mountinfo": mounts,
        **files,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def quota_of(root: Path) -> list[float]:
    return sorted(cpus._quotas(root))


def test_version_2_of_a_container(tmp_path: Path) -> None:
    """docker run --cpus=1.5: the container sees its own group as the root."""
    root = machine(
        tmp_path,
        "0::/\n",
        V2_MOUNT.format(root="/", at="/sys/fs/cgroup"),
        {"sys/fs/cgroup/cpu.max": "150000 100000\n"},
    )
    assert quota_of(root) == [1.5]
    assert cpus.available(root) == min(1, CPUS)


def test_version_2_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        "0::/kubepods/pod7/box\n",
        V2_MOUNT.format(root="/", at="/sys/fs/cgroup"),
        {
            "sys/fs/cgroup/kubepods/pod7/box/cpu.max": "max 100000\n",
            "sys/fs/cgroup/kubepods/pod7/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/kubepods/cpu.max": "400000 100000\n",
        },
    )
    assert quota_of(root) == [0.5, 4.0]
    assert cpus.available(root) == 1, "half a CPU is still one thread"


def test_version_1_with_the_hosts_path(tmp_path: Path) -> None:
    """Without a cgroup namespace the path is the host's, the mount shows the own group alone."""
    root = machine(
        tmp_path,
        "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
        V1_MOUNT.format(root="/docker/abc", at="/sys/fs/cgroup/cpu,cpuacct"),
        {
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000\n",
        },
    )
    assert quota_of(root) == [2.0]
    assert cpus.available(root) == min(2, CPUS)


def test_version_1_below_what_is_mounted(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        "3:cpu:/docker/abc/inner\n",
        V1_MOUNT.format(root="/docker/abc", at="/sys/fs/cgroup/cpu"),
        {
            "sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu/inner/cpu.cfs_period_us": "100000\n",
        },
    )
    assert quota_of(root) == [3.0]


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}),
        ("0::/\n", {}),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "rubbish\n"}),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "100000 0\n"}),
        ("nonsense\n", {}),
        ("", {}),
    ],
    ids=["no limit", "no file", "rubbish", "no period", "no group", "empty"],
)
def test_without_a_limit_the_affinity_counts(
    tmp_path: Path, groups: str, files: dict[str, str]
) -> None:
    mounts = V2_MOUNT.format(root="/", at="/sys/fs/cgroup") + "short line\n"
    assert cpus.available(machine(tmp_path, groups, mounts, files)) == CPUS
    assert cpus.available(tmp_path / "without proc") == CPUS


def test_version_1_without_a_limit(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        "3:cpu,cpuacct:/\n",
        V1_MOUNT.format(root="/", at="/sys/fs/cgroup/cpu"),
        {
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    )
    assert quota_of(root) == []


def test_threads_follow_the_affinity_and_not_the_host() -> None:
    before = os.sched_getaffinity(0)
    assert cpus.available() <= len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cpus.available() == 1
        assert cpus.shared() == (os.cpu_count() != 1)
    finally:
        os.sched_setaffinity(0, before)


def test_a_real_quota(tiny: Path) -> None:
    """A process in a control group of one CPU gets a session of one thread."""
    parent = Path("/sys/fs/cgroup/cpu")
    if not (parent / "cpu.cfs_quota_us").parent.is_dir():
        parent = Path("/sys/fs/cgroup")
    group = parent / f"fungi-onnx-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error.strerror}")
    try:
        try:
            if (group / "cpu.cfs_quota_us").exists():
                (group / "cpu.cfs_quota_us").write_text("100000")
            else:
                (group / "cpu.max").write_text("100000 100000")
        except OSError as error:
            pytest.skip(f"there is no CPU controller here: {error.strerror}")
        code = (
            "import os, sys\n"
            "open(sys.argv[1] + '/cgroup.procs', 'w').write(str(os.getpid()))\n"
            "from fungi_onnx import FungiClassifier, cpus\n"
            "print(FungiClassifier(sys.argv[2]).threads, cpus.shared(), os.cpu_count())\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(group), str(tiny)],
            capture_output=True,
            text=True,
            check=True,
        )
        host = os.cpu_count()
        assert done.stdout.split() == ["1", str(host != 1), str(host)]
    finally:
        group.rmdir()


def test_features_name_the_machine_and_what_it_can_do() -> None:
    assert cpus.features().startswith(os.uname().machine)
    if os.uname().machine == "x86_64":
        flags = set(Path("/proc/cpuinfo").read_text().split())
        assert "sse2" in cpus.features().split()
        assert cpus.has_vnni() == bool(flags & {"avx_vnni", "avx512_vnni"})
