"""What this process really has of a machine's processors: how many, and what they can do."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path("/")


def available(root: Path = ROOT) -> int:
    """The number of CPUs that this process may keep busy.

    The smaller of its affinity (``sched_setaffinity``, cpusets) and of the CPU time that its
    control groups allow it (``docker run --cpus``, Kubernetes limits). In a container
    ``os.cpu_count()`` is the host's, and one thread for each of those would only be throttled. Of
    a quota of 1.5 CPUs one is kept busy: measured with the fungi model, a second thread takes the
    median from 14.8 to 10.3 ms and the 99th percentile from 16 to 30 ms.

    Args:
        root: where ``proc`` and the control groups are; another one for tests.
    """
    return max(1, min([_affinity(), *(int(quota) for quota in _quotas(root))]))


def shared(root: Path = ROOT) -> bool:
    """True if this process has fewer CPUs than the machine, so that others use the rest."""
    return available(root) < (os.cpu_count() or 1)


@cache
def features() -> str:
    """The processor's kind and instruction sets: machines of the same text run the same code."""
    return " ".join([platform.machine(), *sorted(_flags())]) or platform.processor()


def has_vnni() -> bool:
    """True if the processor multiplies 8-bit integers without an intermediate that overflows.

    On x86 that is AVX-VNNI or AVX512-VNNI; before it, ``vpmaddubsw`` adds pairs of products in 16
    bits and saturates. ARM has no such instruction.
    """
    return platform.machine().lower() not in ("x86_64", "amd64", "i686", "x86") or bool(
        _flags() & {"avx_vnni", "avx512_vnni"}
    )


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()


def _quotas(root: Path) -> Iterator[float]:
    """CPUs that each control group above this process allows; nothing where there is no limit."""
    for line in _lines(root / "proc/self/cgroup"):
        # hierarchy-ID:controllers:path; version 2 has the ID 0 and names no controllers.
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for group in _groups(root, path, "cgroup2", ""):
                for text in _lines(group / "cpu.max"):  # "max 100000" or "150000 100000"
                    quota, _, period = text.partition(" ")
                    if quota != "max":
                        yield _ratio(quota, period)
        elif "cpu" in controllers.split(","):
            for group in _groups(root, path, "cgroup", "cpu"):
                for quota, period in zip(
                    _lines(group / "cpu.cfs_quota_us"),
                    _lines(group / "cpu.cfs_period_us"),
                    strict=False,
                ):
                    if not quota.startswith("-"):  # -1: no limit
                        yield _ratio(quota, period)


def _groups(root: Path, path: str, kind: str, controller: str) -> Iterator[Path]:
    """The folders of a control group and of those above it, as far as they are mounted here."""
    for line in _lines(root / "proc/self/mountinfo"):
        # ID parent major:minor root mount-point options [optional...] - type source super-options
        before, _, after = line.partition(" - ")
        mount, described = before.split(), after.split()
        if len(mount) < 5 or len(described) < 3 or described[0] != kind:
            continue
        if controller and controller not in described[2].split(","):
            continue
        top = root / mount[4].lstrip("/")
        # Without a namespace of its own a container sees the host's path, but only its own group
        # mounted: what the mount shows already is cut off.
        below = Path(path).relative_to(mount[3]) if Path(path).is_relative_to(mount[3]) else Path()
        for part in (below, *below.parents):
            yield top / part
        return


def _ratio(quota: str, period: str) -> float:
    try:
        return int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return float(os.cpu_count() or 1)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
