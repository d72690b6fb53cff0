"""A machine's name: its processor and its start."""

from __future__ import annotations

from pathlib import Path

import pytest

from woof_lightning.measure import machine
from woof_lightning.measure.machine import machine_id, processor_id

EPYC = "processor : 0\nvendor_id : AuthenticAMD\ncpu family : 25\nmodel : 17\nmodel name : AMD EPYC\n"


@pytest.mark.parametrize(
    ("vendor", "name"), [("AuthenticAMD", "amd-25-17"), ("GenuineIntel", "intel-25-17"), ("Other", "other-25-17")]
)
def test_a_processor_is_named_by_vendor_family_and_model(vendor: str, name: str) -> None:
    first = EPYC.replace("AuthenticAMD", vendor)
    # Of several cores the first counts.
    assert processor_id(first + first.replace("model : 17", "model : 99")) == name


def test_without_proc_the_system_s_name_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "Apple M9 (arm64)")
    assert processor_id("") == "apple-m9-arm64"


def test_another_start_is_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(EPYC, encoding="utf-8")
    for start in ("1f3ab7cc-88\n", "2f3ab7cc-88\n", None):
        boot = tmp_path / "boot_id"
        boot.unlink(missing_ok=True)
        if start:
            boot.write_text(start, encoding="utf-8")
        monkeypatch.setattr(machine, "BOOT_ID", boot)
        machine_id.cache_clear()
        names.append(machine_id())
    machine_id.cache_clear()
    assert names == ["amd-25-17-1f3a", "amd-25-17-2f3a", "amd-25-17"]
