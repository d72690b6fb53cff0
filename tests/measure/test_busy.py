"""How much processor time others used, from a /proc/stat that the test writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from woof_lightning.measure import busy
from woof_lightning.measure.busy import CPUTimes, cpu_times

# user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice; guest is part of user.
STAT = "cpu  1000 200 30 40000 5000 6 7 800 90 10\ncpu0 1 1 1 1 1 1 1 1 0 0\nintr 5\n"


def read_from(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> CPUTimes:
    file = folder / "stat"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setattr(busy, "Path", {"/proc/stat": file}.__getitem__)
    monkeypatch.setattr("os.sysconf", {"SC_CLK_TCK": 100}.__getitem__)
    monkeypatch.setattr("woof_lightning.measure.busy.time.perf_counter", lambda: 77.0)
    found = cpu_times()
    assert found is not None
    return found


def test_waiting_for_a_disk_is_not_work_and_stolen_time_is_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_from(STAT, tmp_path, monkeypatch)
    assert found.clock_s == 77
    assert found.busy_s == pytest.approx(10 + 2 + 0.3 + 0.06 + 0.07)
    assert found.stolen_s == pytest.approx(8)


def test_without_proc_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "Path", lambda _: tmp_path / "none")
    assert cpu_times() is None


def test_the_share_of_others_leaves_out_one_s_own() -> None:
    before, after = CPUTimes(2.0, 10.0, 1.0), CPUTimes(12.0, 18.0, 2.0)
    assert before.others_share(after, own_s=7.0) == pytest.approx(0.2)
    assert before.others_share(after, own_s=8.5) == pytest.approx(0.05)
    # Ticks of 10 ms may show less than was used.
    assert before.others_share(after, own_s=20.0) == 0
