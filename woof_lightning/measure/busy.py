"""Whether the machine was free while something was measured."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

# Written down before the first published run: above this share of one core for others a measurement counts as
# disturbed, and above this share of disturbed measurements nothing is published.
MOST_OTHERS_SHARE = 0.05
MOST_DISTURBED_SHARE = 0.05


@dataclass(frozen=True)
class CPUTimes:
    """What the machine's cores have done so far.

    Args:
        clock_s: The time of reading.
        busy_s: Time in which any core worked, for anyone.
        stolen_s: Time that the host gave to other machines.
    """

    clock_s: float
    busy_s: float
    stolen_s: float

    def others_share(self, later: CPUTimes, own_s: float) -> float:
        """The share of one core that others used or stole up to a later reading.

        Args:
            later: The later reading.
            own_s: Processor time of those processes that are measured.
        """
        taken_s = later.busy_s - self.busy_s - own_s + later.stolen_s - self.stolen_s
        return max(0.0, taken_s / (later.clock_s - self.clock_s))


def cpu_times() -> CPUTimes | None:
    """A reading of /proc/stat; None where there is none."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    user, nice, system, _, _, irq, softirq, steal, *_ = (int(field) * tick_s for field in fields)
    return CPUTimes(time.perf_counter(), user + nice + system + irq + softirq, steal)
