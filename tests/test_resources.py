"""Cores and memory: what a process may use, and what it keeps."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from woof_lightning import resources
from woof_lightning.data.config import DataConfig
from woof_lightning.resources import (
    available_bytes,
    keep_freed_memory,
    limits_in_bytes,
    limits_in_cores,
    prepare_to_compute,
    usable_cores,
)

GLIBC = sys.platform == "linux" and "glibc" in os.confstr("CS_GNU_LIBC_VERSION")  # type: ignore[operator]
# Takes and frees 64 MB, and prints what it kept of them.
PROGRAM = """
import resource, os
from woof_lightning.resources import keep_freed_memory
kept = keep_freed_memory()
def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6
block = bytearray(64_000_000)
before_mb = resident_mb()
del block
print(kept, before_mb - resident_mb() < 10)
"""


def kept(**variables: str) -> list[str]:
    """Returns what PROGRAM prints in a fresh process with these environment variables."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, encoding="utf-8", check=True, env=os.environ | variables
    )
    return done.stdout.split()


@pytest.mark.skipif(not GLIBC, reason="glibc's malloc")
def test_freed_memory_is_kept_unless_the_variable_says_no() -> None:
    assert kept() == ["True", "True"]
    assert kept(WOOF_KEEP_MEMORY="1") == ["True", "True"]
    assert kept(WOOF_KEEP_MEMORY="0") == ["False", "False"]


@pytest.mark.skipif(not GLIBC, reason="glibc's malloc")
def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    libc = ctypes.CDLL("libc.so.6")
    asked: dict[int, int] = {}

    def mallopt(name: int, value: int) -> int:
        asked[name] = value
        return 1

    # With a preloaded allocator, the process finds another malloc than the C library's.
    process = SimpleNamespace(malloc=libc.free, mallopt=mallopt)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc if name else process)
    assert not keep_freed_memory()
    assert asked == {}
    process.malloc = libc.malloc
    assert keep_freed_memory()
    assert asked == {resources.M_MMAP_MAX: 0, resources.M_TRIM_THRESHOLD: -1}


def write_groups(tmp_path: Path, listed: str, files: dict[str, str]) -> None:
    """Writes the list of a process's control groups, and their files."""
    (tmp_path / "own").write_text(f"{listed}\n", encoding="utf-8")
    for name, text in files.items():
        file = tmp_path / "mounted" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("listed", "files", "limits"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, [1.5]),
        ("0::/", {"cpu.max": "max 100000"}, []),
        ("0::/", {}, []),
        ("0::/jobs/one", {"jobs/one/cpu.max": "50000 100000", "cpu.max": "max 100000"}, [0.5]),
        ("0::/jobs/one", {"jobs/cpu.max": "300000 100000"}, [3.0]),
        ("0::/of/the/host", {"cpu.max": "200000 100000"}, [2.0]),
        (
            "4:memory:/\n3:cpu,cpuacct:/",
            {"cpu,cpuacct/cpu.cfs_quota_us": "250000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            [2.5],
        ),
        ("3:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, []),
        ("3:memory:/", {"memory/cpu.max": "100000 100000"}, []),
    ],
)
def test_the_limits_of_control_groups(listed: str, files: dict[str, str], limits: list[float], tmp_path: Path) -> None:
    write_groups(tmp_path, listed, files)
    assert list(limits_in_cores(tmp_path / "mounted", tmp_path / "own")) == limits


@pytest.mark.parametrize(
    ("listed", "files", "limits"),
    [
        ("0::/a", {"memory.max": "3000", "a/memory.max": "2000"}, [2000, 3000]),
        ("0::/a", {"a/memory.max": "max"}, []),
        ("5:memory:/a\n3:cpu:/", {"memory/memory.limit_in_bytes": "4000", "cpu/memory.limit_in_bytes": "1"}, [4000]),
    ],
)
def test_the_memory_of_control_groups(listed: str, files: dict[str, str], limits: list[int], tmp_path: Path) -> None:
    write_groups(tmp_path, listed, files)
    assert list(limits_in_bytes(tmp_path / "mounted", tmp_path / "own")) == limits


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/meminfo")
def test_available_memory_is_that_of_the_machine_or_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "limits_in_bytes", lambda: iter([]))
    assert 10**8 < available_bytes() < 10**14
    monkeypatch.setattr(resources, "limits_in_bytes", lambda: iter([10**7, 10**6]))
    assert available_bytes() == 10**6


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert list(limits_in_cores(tmp_path, tmp_path / "own")) == []


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "limits_in_cores", lambda: iter([]))
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {4, 5, 9} if pid == 0 else {1}, raising=False)
    assert usable_cores() == 3 == DataConfig().worker_count
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert usable_cores() == 6
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert usable_cores() == 1
    assert os.cpu_count() is None


def test_a_limit_is_a_number_of_cores_from_one_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    for limits, cores in (([], 6), ([1.5], 2), ([0.2], 1), ([8.0], 6), ([4.0, 3.0], 3)):
        monkeypatch.setattr(resources, "limits_in_cores", lambda limits=limits: iter(limits))
        assert usable_cores() == cores


def test_torch_uses_no_more_threads_than_there_are_usable_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "keep_freed_memory", lambda: True)
    before = torch.get_num_threads()
    try:
        for usable, threads, expected in ((2, 3, 2), (3, 2, 2)):
            torch.set_num_threads(threads)
            monkeypatch.setattr(resources, "usable_cores", lambda usable=usable: usable)
            prepare_to_compute()
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)
