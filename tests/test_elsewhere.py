"""Notebooks, macOS and Windows, as far as they can be imitated here: backends, spawned processes, missing modules."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CONFIGS
from tests.processes import Process, run
from tests.ways import PEERS
from woof_lightning.runs.folder import RunFolder

pytestmark = pytest.mark.process
PAGE = CONFIGS.parent / "docs" / "your-own-script.md"
WINDOWS = Path(__file__).with_name("windows")
# The letters of a class are neither in ASCII nor in cp1252, in which Windows writes into files and pipes.
CLASS = "犬 µ…"
PATIENCE_S = 600


WOOF = "import sys; from woof_lightning.cli import main; sys.exit(main(sys.argv[1:]))"


def test_a_notebook_s_backend_ends_no_verb(small_fit: list[str], tmp_path: Path) -> None:
    backend = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    few = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2)
    # The verbs that import matplotlib: torchmetrics does in a fit, lr-find and validate.
    for args in (("fit", *small_fit, *few), ("compare", "runs", "--out", "compared")):
        done = run(["-c", WOOF, *args], tmp_path, fresh=True, **backend)
        assert done.code == 0, done.err
    assert (tmp_path / "compared/index.html").is_file()


def test_the_docs_script_runs_where_processes_are_spawned(tmp_path: Path) -> None:
    """Spawned loading processes import the script again. Without its guard each would start the training anew."""
    (script,) = re.findall(r"## In Python\n+```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    spawned = script.replace(
        "    data =", '    import multiprocessing; multiprocessing.set_start_method("spawn")\n    data ='
    )
    assert spawned != script
    quick = spawned.replace("image_size=64", "image_size=32").replace(
        "max_epochs=5", "max_epochs=1, limit_train_batches=2"
    )
    (tmp_path / "script.py").write_text(quick, encoding="utf-8")
    done = run(["script.py"], tmp_path, fresh=True)
    assert done.code == 0, done.err
    assert 0 <= float(re.findall(r"tensor\((.*?)\)", done.out)[-1]) <= 1


def test_the_module_runs_where_processes_are_spawned(small_fit: list[str], tmp_path: Path) -> None:
    code = (
        "import multiprocessing, runpy, sys\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method('spawn')\n"
        "    runpy.run_module('woof_lightning', run_name='__main__', alter_sys=True)\n"
    )
    (tmp_path / "start.py").write_text(code, encoding="utf-8")
    few = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--data.num_workers", "1")
    done = run(["start.py", "fit", *small_fit, *few], tmp_path, fresh=True)
    assert done.code == 0, done.err
    assert (tmp_path / "runs/adamw_onecycle/result.json").is_file()


def without(*modules: str) -> str:
    """Returns the command as code, on a system where some modules are missing and `select` has no poll."""
    missing = "".join(f"sys.modules[{name!r}] = None\n" for name in modules)
    return f"import sys, select\n{missing}\ndel select.poll\n" + WOOF


def test_help_needs_no_module_of_unix(tmp_path: Path) -> None:
    for verb in ("cost", "compare"):
        code = without("pty", "resource", "fcntl", "termios", "tty", "grp")
        done = run(["-c", code, verb, "--help"], tmp_path, fresh=True)
        assert (done.code, done.err) == (0, "")
        assert f"usage: woof {verb}" in done.out


def test_two_processes_in_one_folder_are_refused_without_fcntl(small_fit: list[str], tmp_path: Path) -> None:
    code = without("fcntl")
    options = ["fit", *small_fit, "--trainer.max_epochs", "40", "--name", "run", "--trainer.limit_train_batches", "1.0"]
    first = Process(["-c", code, *options], tmp_path, fresh=True)
    try:
        assert first.wait_until(RunFolder(tmp_path / "runs/run").metrics.is_file), first.wait()
        second = run(["-c", code, *options, "--resume"], tmp_path, fresh=True)
        assert second.code == 2, second.out
        assert "another process trains in it" in second.err
    finally:
        first.send(signal.SIGKILL)
        first.wait()


def imitation(**more: str) -> dict[str, str]:
    """The environment in which Python imitates Windows, writes cp1252, and refuses a text without an encoding."""
    path = os.pathsep.join(filter(None, (str(WINDOWS), str(CONFIGS.parent), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "PYTHONIOENCODING": "cp1252", "PYTHONWARNDEFAULTENCODING": "1", **more}


def photos_in(folder: Path, drawn_root: Path, classes: tuple[str, ...]) -> Path:
    """Returns a folder with a few drawn dogs in each class."""
    for number, name in enumerate(classes, start=1):
        breed = f"s{number:08d}"
        for split, count in (("train", 2), ("val", 1)):
            (folder / split / name).mkdir(parents=True)
            for file in sorted((drawn_root / "synthetic" / split / breed).iterdir())[:count]:
                shutil.copy(file, folder / split / name)
    return folder


TRAINING = """
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset
from torch.utils.data import DataLoader

def make():
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    data = DataLoader(RandomDataset(32, 100), batch_size=2)
    return Trainer(limit_val_batches=0, accelerator="cpu", **quiet), BoringModel(), data
"""


@dataclass(frozen=True)
class Calls:
    """Calls of `woof` in one process.

    Args:
        codes: Their exit codes, and the number of imported modules.
        out: What each printed.
        err: What each printed as errors.
        folder: Where they ran.
    """

    codes: dict[str, int]
    out: dict[str, str]
    err: dict[str, str]
    folder: Path


def by_call(printed: str) -> dict[str, str]:
    """Returns what was printed after each call's name."""
    parts = re.split(r"^=== (.*)\n", printed, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture(scope="module")
def on_windows(small_fit: list[str], drawn_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """Each verb where Windows is imitated, in one process: importing Lightning takes long."""
    folder = tmp_path_factory.mktemp("windows")
    photos = photos_in(folder / "photos", drawn_root, (CLASS, "cat"))
    image = next((photos / "val" / CLASS).iterdir())
    # With the schedule step, more epochs only add to a run.
    fit = [*small_fit, "--model.schedule", "step", "--name"]
    sweep = ["--trainer.limit_train_batches", "1.0", "--min_lr", "1e-6", "--max_lr", "0.1", "--num_training", "40"]
    calls = {
        "help": ["--help"],
        "data": ["data", "--root", str(drawn_root)],
        "check": ["data", "--folder", str(photos), "--check"],
        "fit": ["fit", *fit, "run", "--trainer.max_epochs", "1", "--data.num_workers", "1"],
        "resume": ["fit", *fit, "run", "--resume"],
        "loop": ["loop", "bare", *fit, "loop"],
        "lr-find": ["lr-find", *small_fit, *sweep],
        "validate": ["validate", "--ckpt", "runs/run"],
        "predict": ["predict", "--ckpt", "runs/run", str(image)],
        "compare": ["compare", "runs/run", "runs/loop", "--out", "compared"],
        "export": ["export", "--ckpt", "runs/run", "--to", "state_dict"],
        "profile": ["profile", "training:make", "--steps", "20", "--no_bare"],
        "change": ["change"],
        "change ema": ["change", "ema"],
        "change --check": ["change", "ema", "--check"],
        "cost": ["cost", "--quick"],
    }
    without = [f"woof_lightning.loops.{way}" for way in PEERS]
    (folder / "training.py").write_text(TRAINING, encoding="utf-8")
    (folder / "calls.json").write_text(json.dumps({"without": without, "calls": calls}), encoding="utf-8")
    done = Process([WINDOWS / "calls.py"], folder, fresh=True, **imitation()).wait(PATIENCE_S)
    assert done.code == 0, done.err
    codes = json.loads((folder / "codes.json").read_text(encoding="utf-8"))
    return Calls(codes, by_call(done.out), by_call(done.err), folder)


def test_every_module_is_imported_on_windows(on_windows: Calls) -> None:
    assert on_windows.codes["imported"] > 150


@pytest.mark.parametrize(
    ("call", "left"),
    [
        ("help", None),
        ("data", None),
        ("check", None),
        ("fit", "runs/run/checkpoints/last.ckpt"),
        ("resume", "runs/run/result.json"),
        ("loop", "runs/loop/result.json"),
        ("lr-find", "runs/adamw_onecycle/lr_find/plot.png"),
        ("validate", None),
        ("predict", None),
        ("compare", "compared/index.html"),
        ("export", "runs/run/export/best.state_dict.pt"),
        ("profile", "profile/profile.json"),
        ("change", None),
        ("change ema", None),
    ],
)
def test_a_verb_runs_on_windows(on_windows: Calls, call: str, left: str | None) -> None:
    assert on_windows.codes[call] == 0, on_windows.err[call]
    assert on_windows.out[call].strip()
    assert left is None or (on_windows.folder / left).is_file()


def test_a_run_that_is_resumed_on_windows_ends_as_the_bare_loop(on_windows: Calls) -> None:
    """Its first epoch was loaded by a spawned process."""
    resumed, loop = (RunFolder(on_windows.folder / "runs" / name).metrics.read_bytes() for name in ("run", "loop"))
    assert resumed == loop
    assert len(resumed.splitlines()) > 4
    assert b"\r" not in resumed


def test_letters_that_the_terminal_lacks_are_escaped(on_windows: Calls) -> None:
    # Python writes cp1252 here, and the test reads UTF-8.
    assert on_windows.out["check"].count("\\u72ac ") >= 1


@pytest.mark.parametrize(
    ("call", "message"), [("cost", "os.wait4, pty, resource"), ("change --check", "--check, --break and --merge need")]
)
def test_what_windows_cannot_is_refused(on_windows: Calls, call: str, message: str) -> None:
    assert on_windows.codes[call] == 2
    (line,) = on_windows.err[call].strip().splitlines()
    assert line.startswith("woof: error: ")
    assert message in line


def test_ascii_is_enough_for_every_letter(drawn_root: Path, tmp_path: Path) -> None:
    photos = photos_in(tmp_path / "photos", drawn_root, (CLASS, "cat"))
    words = ["-c", WOOF, "data", "--folder", photos]
    done = run(words, tmp_path, fresh=True, **imitation(PYTHONIOENCODING="ascii"))
    assert done.code == 0, done.err
    assert "\\u72ac \\xb5\\u2026" in done.out


UNGUARDED = """
from torch.utils.data._utils import signal_handling
from woof_lightning import ImagewoofDataModule

signal_handling.IS_WINDOWS = True  # PyTorch is not told of its children's deaths there.
data = ImagewoofDataModule(root=ROOT, variant="synthetic", image_size=32, batch_size=8, num_workers=1)
data.prepare_data()
data.setup("fit")
print(len(next(iter(data.train_dataloader()))), "in the first batch")
"""


def test_a_script_without_its_guard_ends_where_processes_are_spawned(drawn_root: Path, tmp_path: Path) -> None:
    """Not after the time that a batch may take: the loading process dies before its first one."""
    (tmp_path / "script.py").write_text(UNGUARDED.replace("ROOT", repr(str(drawn_root))), encoding="utf-8")
    start_s = time.monotonic()
    done = Process(["script.py"], tmp_path, fresh=True, **imitation()).wait(PATIENCE_S)
    assert time.monotonic() - start_s < 240
    assert done.code == 1
    assert "in the first batch" not in done.out
    assert "if __name__ == '__main__':" in done.err  # Python's own advice.


@pytest.mark.slow
def test_every_test_can_be_collected_on_windows(tmp_path: Path) -> None:
    """A test of Unix alone must be skipped, not end the whole run."""
    words = ["-m", "pytest", "--collect-only", "-q", "-W", "ignore", CONFIGS.parent / "tests"]
    done = Process(words, tmp_path, fresh=True, **imitation()).wait(PATIENCE_S)
    assert done.code == 0, done.out[-3000:]
