"""Notebooks, macOS and Windows, as far as they can be imitated here: backends, spawned processes, missing modules."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.conftest import CONFIGS
from tests.processes import Process, run
from woof_lightning.runs.folder import RunFolder

pytestmark = pytest.mark.process
README = CONFIGS.parent / "README.md"


WOOF = "import sys; from woof_lightning.cli import main; sys.exit(main(sys.argv[1:]))"


def test_a_notebook_s_backend_ends_no_verb(small_fit: list[str], tmp_path: Path) -> None:
    backend = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    few = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2)
    # The verbs that import matplotlib: torchmetrics does in a fit, lr-find and validate.
    for args in (("fit", *small_fit, *few), ("compare", "runs", "--out", "compared")):
        done = run(["-c", WOOF, *args], tmp_path, fresh=True, **backend)
        assert done.code == 0, done.err
    assert (tmp_path / "compared/index.html").is_file()


def test_the_readme_s_script_runs_where_processes_are_spawned(tmp_path: Path) -> None:
    """Spawned loading processes import the script again. Without its guard each would start the training anew."""
    (script,) = re.findall(r"## Your own script\n+```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
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
