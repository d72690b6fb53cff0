"""Notebooks, macOS and Windows, as far as they can be imitated here: backends, spawned processes, missing modules."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import CONFIGS
from woof_lightning.runs.folder import RunFolder

pytestmark = pytest.mark.process
README = CONFIGS.parent / "README.md"


def run(code: str, place: Path, *args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], cwd=place, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip


WOOF = "import sys; from woof_lightning.cli import main; sys.exit(main(sys.argv[1:]))"


def test_a_notebook_s_backend_ends_no_verb(small_fit: list[str], tmp_path: Path) -> None:
    backend = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    few = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2)
    # The verbs that import matplotlib: torchmetrics does in a fit, lr-find and validate.
    for args in (("fit", *small_fit, *few), ("compare", "runs", "--out", "compared")):
        done = run(WOOF, tmp_path, *args, **backend)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "compared/index.html").is_file()


def test_the_readme_s_script_runs_where_processes_are_spawned(tmp_path: Path) -> None:
    """Spawned loading processes import the script again. Without its guard each would start the training anew."""
    (script,) = re.findall(r"## Your own script\n+```python\n(.*?)```", README.read_text(), re.DOTALL)
    spawned = script.replace(
        "    data =", '    import multiprocessing; multiprocessing.set_start_method("spawn")\n    data ='
    )
    assert spawned != script
    quick = spawned.replace("image_size=64", "image_size=32").replace(
        "max_epochs=5", "max_epochs=1, limit_train_batches=2"
    )
    (tmp_path / "script.py").write_text(quick)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 0 <= float(re.findall(r"tensor\((.*?)\)", done.stdout)[-1]) <= 1


def test_the_module_runs_where_processes_are_spawned(small_fit: list[str], tmp_path: Path) -> None:
    code = (
        "import multiprocessing, runpy, sys\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method('spawn')\n"
        "    runpy.run_module('woof_lightning', run_name='__main__', alter_sys=True)\n"
    )
    (tmp_path / "start.py").write_text(code)
    few = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--data.num_workers", "1")
    done = subprocess.run(
        [sys.executable, "start.py", "fit", *small_fit, *few], cwd=tmp_path, capture_output=True, text=True,
        check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/adamw_onecycle/result.json").is_file()


def without(*modules: str) -> str:
    """Returns the command as code, on a system where some modules are missing and `select` has no poll."""
    missing = "".join(f"sys.modules[{name!r}] = None\n" for name in modules)
    return f"import sys, select\n{missing}\ndel select.poll\n" + WOOF


def test_help_needs_no_module_of_unix(tmp_path: Path) -> None:
    for verb in ("cost", "compare"):
        done = run(without("pty", "resource", "fcntl", "termios", "tty", "grp"), tmp_path, verb, "--help")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert f"usage: woof {verb}" in done.stdout


def test_two_processes_in_one_folder_are_refused_without_fcntl(small_fit: list[str], tmp_path: Path) -> None:
    code = without("fcntl")
    options = ["fit", *small_fit, "--trainer.max_epochs", "40", "--name", "run", "--trainer.limit_train_batches", "1.0"]
    first = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, options)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    folder = RunFolder(tmp_path / "runs/run")
    try:
        until_s = time.monotonic() + 100
        while not folder.metrics.is_file():
            assert time.monotonic() < until_s, "It never trained."
            assert first.poll() is None, first.communicate()
            time.sleep(0.05)
        second = run(code, tmp_path, *options, "--resume")
        assert second.returncode == 2, second.stdout
        assert "another process trains in it" in second.stderr
    finally:
        first.kill()
        first.communicate()
