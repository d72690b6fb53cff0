"""What a process may use of its machine: the cores that it has, and the memory that it keeps."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

SWITCH = "WOOF_KEEP_MEMORY"
# The names and values are those of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
NEVER, NONE = -1, 0
CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def prepare_to_compute() -> None:
    """Makes this process keep freed memory, and torch use no more threads than there are usable cores.

    Torch counts the cores of the machine, of which a container may get only a few.
    """
    import torch  # Here, because commands that compute nothing start without it.

    keep_freed_memory()
    if torch.get_num_threads() > usable_cores():
        torch.set_num_threads(usable_cores())


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory, because a training step takes and frees the same large blocks again and again.

    Otherwise glibc asks the system for each large block anew and returns it when it is freed, and the system clears
    each page of it at its first use. Child processes that are forked later keep their memory, too.

    Nothing is done if the environment variable WOOF_KEEP_MEMORY is 0, on systems without glibc, or if another
    allocator was preloaded.

    Source: https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html

    Returns:
        Whether freed memory is kept.
    """
    if os.environ.get(SWITCH) == "0" or not _malloc_is_glibcs():
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_MAX, NONE) and libc.mallopt(M_TRIM_THRESHOLD, NEVER))


def _malloc_is_glibcs() -> bool:
    if sys.platform != "linux":
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # musl has no library of this name.
        return False
    addresses = {ctypes.cast(library.malloc, ctypes.c_void_p).value for library in (libc, ctypes.CDLL(None))}
    return hasattr(libc, "gnu_get_libc_version") and len(addresses) == 1


def available_bytes() -> int:
    """Returns the memory that this process can take, within its container's limit; 0 if the system does not say."""
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
        free_bytes = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return 0
    return min([free_bytes, *limits_in_bytes()])


def usable_cores() -> int:
    """Returns the number of cores that this process may use: those it may run on, within the limit of its container."""
    # macOS and Windows do not say on which cores a process may run.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(limit) for limit in limits_in_cores())]))


def limits_in_bytes(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> Iterator[int]:
    """Yields the limits of memory that control groups set to a process. The arguments are those of own_groups."""
    for folder in own_groups("memory", cgroups, own):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (text := _text(folder / name)).isdigit():
                yield int(text)


def limits_in_cores(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> Iterator[float]:
    """Yields the limits of processor time that control groups set to a process, in cores.

    The arguments are those of own_groups.
    """
    for folder in own_groups("cpu", cgroups, own):
        # The files of the second version of the control groups, and of the first.
        first = " ".join(_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        for text in (_text(folder / "cpu.max"), first):
            words = text.split()
            if len(words) == 2 and words[0].isdigit():
                yield int(words[0]) / int(words[1])


def own_groups(controller: str, cgroups: Path, own: Path) -> Iterator[Path]:
    """Yields the folders of the control groups, such as a container's, that limit a process.

    Args:
        controller: What is limited: cpu or memory.
        cgroups: Where the control groups are mounted.
        own: The file that lists the groups of the process.
    """
    for line in _text(own).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            mounted = cgroups / controllers
            group_folder = mounted / group.lstrip("/")
            # In a container, the group's path may be that of the host; its own files are then at the top.
            yield from (folder for folder in (group_folder, *group_folder.parents) if folder.is_relative_to(mounted))


def _text(file: Path) -> str:
    """Returns a file's text; nothing if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
