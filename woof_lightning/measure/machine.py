"""Names the machine of a measurement, and the start that it was measured after."""

from __future__ import annotations

import functools
import platform
import re
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
CPU_INFO = Path("/proc/cpuinfo")


@functools.cache
def machine_id() -> str:
    """Returns the processor's model and the first digits of the machine's start, as "amd-25-17-1f3a".

    The same kind of machine after another start is another one: caches, neighbours and clock rates differ. On systems
    without /proc the start is left out.
    """
    boot = _read(BOOT_ID)[:4]
    return "-".join([processor_id(_read(CPU_INFO)), *([boot] if boot else [])])


def processor_id(cpu_info: str) -> str:
    """Returns vendor, family and model of a processor, as "amd-25-17".

    Args:
        cpu_info: The text of /proc/cpuinfo; empty on systems without it.
    """
    found: dict[str, str] = {}
    for line in cpu_info.splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    if {"vendor_id", "cpu family", "model"} <= found.keys():
        vendor = found["vendor_id"].lower().removeprefix("genuine").removeprefix("authentic")
        return f"{vendor}-{found['cpu family']}-{found['model']}"
    return re.sub(r"\W+", "-", platform.processor() or platform.machine()).strip("-").lower()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
