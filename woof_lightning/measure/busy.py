"""Reads how much processor time other programs used while something was measured."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

# Both limits were fixed before the first published run. A measurement is disturbed if others use more than the first
# share of one core. Nothing is published if more than the second share of the measurements is disturbed.
MOST_OTHERS_SHARE = 0.05
MOST_DISTURBED_SHARE = 0.05


@dataclass(frozen=True)
class CPUTimes:
    """A reading of the processor times of all cores since the machine started.

    Args:
        clock_s: time.perf_counter() at the reading.
        busy_s: Time in which cores worked, for any process, summed over the cores.
        stolen_s: Time that the host gave to other virtual machines, summed over the cores.
    """

    clock_s: float
    busy_s: float
    stolen_s: float

    def others_share(self, later: CPUTimes, own_s: float) -> float:
        """Returns how much others used or stole until a later reading, as a share of one core.

        Args:
            later: The later reading.
            own_s: Processor time of the measured processes between the two readings.
        """
        taken_s = later.busy_s - self.busy_s - own_s + later.stolen_s - self.stolen_s
        return max(0.0, taken_s / (later.clock_s - self.clock_s))


def cpu_times() -> CPUTimes | None:
    """Returns a reading of /proc/stat; None if the system does not have it."""
    try:
        fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    user, nice, system, _, _, irq, softirq, steal, *_ = (int(field) * tick_s for field in fields)
    return CPUTimes(time.perf_counter(), user + nice + system + irq + softirq, steal)
