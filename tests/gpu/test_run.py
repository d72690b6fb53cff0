"""The runner for a GPU machine: its order, its end in time, going on, and what is brought back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from docs.results.gpu.parts import make_parts
from docs.results.gpu.plan import CHECKS, COST, POST, Step
from docs.results.gpu.records import CUT, DONE, FAILED, RESULTS, ROWS, Row, Rows, bring_back, restore
from docs.results.gpu.run import GRACE_S, MARGIN_S, Call, error_in, forget_what_was_cut, left_over, run_all

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]


def step(name: str, code: str = "pass", part: str = CHECKS, **options: object) -> Step:
    return replace(Step(name, part, (sys.executable, "-c", code), least_s=0.5), **options)  # type: ignore[arg-type]


def call(folder: Path, steps_s: float = 60.0, **options: object) -> Call:
    """A call in which steps may take so long."""
    ends_s = time.monotonic() + steps_s + GRACE_S + MARGIN_S
    return replace(Call(folder / "work", folder / "out", ends_s), **options)  # type: ignore[arg-type]


def run(steps: list[Step], made: Call, *, images: bool = True) -> dict[str, Row]:
    made.work.mkdir(parents=True, exist_ok=True)
    run_all(lambda: steps, made, lambda: images)
    return Rows(made.work / ROWS).latest()


def names_in(results: Path) -> list[str]:
    with tarfile.open(results) as archive:
        return archive.getnames()


def test_steps_run_in_their_order_and_a_later_call_goes_on(tmp_path: Path) -> None:
    note = f"open({str(tmp_path / 'noted')!r}, 'a').write({{!r}})"
    steps = [step(name, note.format(name)) for name in ("a", "b")]
    later = [*steps, step("c", note.format("c")), step("d", note.format("d"), COST)]
    run(steps, call(tmp_path))
    run(later, call(tmp_path, wanted=(COST,)))
    rows = run(later, call(tmp_path))
    assert (tmp_path / "noted").read_text(encoding="utf-8") == "abdc"
    assert {row.status for row in rows.values()} == {DONE}
    assert [row.step for row in Rows(tmp_path / "out" / ROWS).read()] == ["a", "b", "d", "c"]


def test_a_failure_is_noted_with_its_last_line_and_hides_no_other_step(tmp_path: Path) -> None:
    steps = [
        step("fails", "import sys; print('first'); print('the reason\\n', file=sys.stderr); sys.exit(3)"),
        step("depends", after=("fails",)),
        step("other"),
    ]
    rows = run(steps, call(tmp_path))
    assert (rows["fails"].status, rows["fails"].exit_code, rows["fails"].error) == (FAILED, 3, "the reason")
    assert rows["other"].status == DONE
    assert "depends" not in rows
    assert left_over(steps, rows).splitlines() == ["1 of 3 steps are done", "failed: fails", "left: depends"]
    # It is not tried again, unless that is asked for.
    assert len(run(steps, call(tmp_path))) == len(Rows(tmp_path / "out" / ROWS).read()) == 2
    steps[0] = step("fails")
    rows = run(steps, call(tmp_path, again=True))
    assert {row.status for row in rows.values()} == {DONE}
    assert "depends" in rows


SAVES_ITSELF = """
import signal, sys, time, pathlib
def stop(*_):
    pathlib.Path({file!r}).write_text("saved")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
print("begun", flush=True)
time.sleep(60 if not pathlib.Path({file!r}).exists() else 0)
"""


def test_what_is_cut_at_the_call_s_end_saves_itself_and_goes_on_in_the_next(tmp_path: Path) -> None:
    file = tmp_path / "saved"
    steps = [step("long", SAVES_ITSELF.format(file=str(file)), POST), step("short")]
    began_s = time.monotonic()
    rows = run(steps, call(tmp_path, steps_s=2.0))
    assert time.monotonic() - began_s < 2 + GRACE_S
    assert (rows["long"].status, rows["long"].exit_code, rows["long"].error) == (CUT, 143, "")
    assert file.read_text(encoding="utf-8") == "saved"
    assert "short" not in rows  # Its time was over.
    assert "left: long, short" in left_over(steps, rows)
    rows = run(steps, call(tmp_path))
    assert [row.status for row in Rows(tmp_path / "out" / ROWS).read()] == [CUT, DONE, DONE]
    assert rows["long"].status == DONE


def test_a_step_that_hangs_fails_after_its_own_time(tmp_path: Path) -> None:
    rows = run([step("hangs", "import time; time.sleep(60)", most_s=1), step("next")], call(tmp_path))
    assert (rows["hangs"].status, rows["hangs"].error) == (FAILED, "ended after 1 s")
    assert rows["hangs"].seconds < 10
    assert rows["next"].status == DONE


def test_processes_that_a_step_leaves_end_with_it(tmp_path: Path) -> None:
    child = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"
    run([step("parent", child)], call(tmp_path))
    pid = int(error_in(tmp_path / "work" / "logs" / "parent.log"))
    for _ in range(50):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2]:
            break
        time.sleep(0.1)
    else:
        pytest.fail("it still runs")


def test_a_step_that_does_not_fit_is_passed_over_for_a_later_one(tmp_path: Path) -> None:
    rows = run([step("large", least_s=100), step("small")], call(tmp_path, steps_s=20))
    assert set(rows) == {"small"}


def test_steps_that_need_the_images_wait_for_them(tmp_path: Path) -> None:
    steps = [step("trains", part=POST, needs_images=True), step("measures", part=COST)]
    assert set(run(steps, call(tmp_path), images=False)) == {"measures"}
    assert set(run(steps, call(tmp_path), images=True)) == {"trains", "measures"}


def test_neighbours_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    waits = "import pathlib, time\npathlib.Path({own!r}).touch()\n"
    waits += "while not pathlib.Path({other!r}).exists(): time.sleep(.02)"
    files = [str(tmp_path / name) for name in ("one", "two")]
    steps = [step("one", waits.format(own=files[0], other=files[1]), beside="both", most_s=30)]
    steps += [step("two", waits.format(own=files[1], other=files[0]), beside="both", most_s=30)]
    assert {row.status for row in run(steps, call(tmp_path)).values()} == {DONE}


NOT_RECORDS: tuple[str, ...] = (
    "checkpoints/best.ckpt",
    "checkpoints/epoch_00000.meta.json",
    "weights.pth",
    "pixels/a.pixels",
)
NOT_RECORDS += ("train/dog.JPEG", "val/dog.jpg", "plot.png")
RECORDS = ("config.yaml", "metrics.csv", "result.json", "events.out.tfevents.1.vm.2.0", "lr_find/curve.csv")


def test_records_are_brought_back_but_no_checkpoint_and_no_image(tmp_path: Path) -> None:
    folder = tmp_path / "work" / "runs" / "fit"
    for name in (*NOT_RECORDS, *RECORDS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    (folder / "linked.json").symlink_to(folder / "weights.pth")
    (tmp_path / "work" / "runs" / "other").mkdir()
    (tmp_path / "work" / "runs" / "other" / "result.json").touch()
    run([step("trains", "print('x' * 100_000 + 'end')", kept=("runs/fit", "not there"))], call(tmp_path))
    # Few files and no folder.
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [RESULTS, ROWS]
    expected = [ROWS, *(f"runs/fit/{name}" for name in RECORDS), "logs/trains.log"]
    assert sorted(names_in(tmp_path / "out" / RESULTS)) == sorted(expected)
    with tarfile.open(tmp_path / "out" / RESULTS) as archive:
        log = archive.extractfile("logs/trains.log")
        assert log is not None
        assert log.read().decode().endswith("xend\n")
        assert archive.getmember("logs/trains.log").size < 50_000


def test_a_fresh_machine_goes_on_from_what_was_brought_back(tmp_path: Path) -> None:
    work, fresh = tmp_path / "work", tmp_path / "fresh"
    steps = [step(name, part=POST, kept=(f"runs/{name}",)) for name in ("done", "cut")]
    for name in ("done", "cut"):
        (work / "runs" / name).mkdir(parents=True)
        (work / "runs" / name / "metrics.csv").touch()
    for name in ("done", "cut"):
        Rows(work / ROWS).add(Row(name, POST, DONE if name == "done" else CUT, 1.0, 0, "", "", "now"))
    bring_back(work, tmp_path / "out", [name for one in steps for name in one.kept])
    fresh.mkdir()
    assert restore(tmp_path / "out" / RESULTS, fresh)
    forget_what_was_cut(fresh, steps)
    assert (fresh / "runs" / "done" / "metrics.csv").exists()
    assert not (fresh / "runs" / "cut").exists()
    assert Rows(fresh / ROWS).latest()["done"].status == DONE
    assert not restore(tmp_path / "out" / RESULTS, fresh)  # There are rows.
    assert not restore(tmp_path / "nothing", tmp_path / "empty")


def wheel(folder: Path) -> None:
    """Makes a wheel of one module."""
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "brought-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("brought.py", "")
        about = "brought-1.0.dist-info"
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    (folder / "version.txt").write_text("0.1.0+abc1234\n", encoding="utf-8")


def test_the_script_installs_what_arrives_and_says_what_is_missing(tmp_path: Path, small_folder: Path) -> None:
    packed, work = tmp_path / "packed", tmp_path / "machine"
    wheel(packed / "wheels")
    made = make_parts(small_folder, packed, 60_000)
    assert len(made) > 1
    later = tmp_path / "later"
    shutil.move(made[0].parent, later)
    places = {"WOOF_GPU_PACKED": str(packed), "WOOF_GPU_WORK": str(work), "OUT": str(tmp_path / "out")}

    # The machine's Python, which says where it looks for modules.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "path $PYTHONPATH"\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)

    def arrive() -> str:
        command = ["sh", str(ROOT / "docs/results/gpu/run.sh"), "--arrive"]
        environment = os.environ | places | {"PYTHON": str(python)}
        return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=True).stdout

    first = arrive().splitlines()
    assert first[-1] == "images: missing are the parts 1"
    assert f"path {ROOT}:{work / 'site'}" in first
    assert (work / "site" / "brought.py").is_file()
    asked = "from importlib import metadata; print(metadata.version('woof-lightning'))"
    script = [sys.executable, "-S", "-c", asked]
    found = subprocess.run(
        script, env={"PYTHONPATH": str(work / "site")}, capture_output=True, encoding="utf-8", check=True
    )
    assert found.stdout == "0.1.0+abc1234\n"
    shutil.rmtree(packed / "wheels")
    shutil.move(later, made[0].parent)
    assert arrive().splitlines()[-1] == "images: complete"
    theirs = sorted(file.relative_to(work / "images") for file in (work / "images").rglob("*.*"))
    assert theirs == sorted(file.relative_to(small_folder) for file in small_folder.rglob("*.*"))
    assert not list(packed.rglob("*.tar"))


def test_the_error_is_the_last_one_that_a_log_names_or_its_last_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for content, error in (
        (b"first\nbar 1 %\rbar 2 %\r  \n\n", "bar 2 %"),
        (b"", ""),
        (b"  ValueError: one\ntorch.OutOfMemoryError: CUDA out of memory\n\nits output:\nTrainer stopped\n", "torch."),
        (b"woof: error: lr is 0\nnote: more\n", "woof: error: lr is 0"),
    ):
        log.write_bytes(content)
        assert error_in(log).startswith(error)
        assert error or not error_in(log)
    log.write_bytes(b"ValueError: of an attempt before\nlast\n")
    assert error_in(log, len(b"ValueError: of an attempt before\n")) == "last"
