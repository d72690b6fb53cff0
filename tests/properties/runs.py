"""Runs `woof` in a folder of its own, and checks that what it left agrees with itself."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, settings

from woof_lightning.cli import main
from woof_lightning.lit.validate import validate
from woof_lightning.recipe.checkpoint import read_checkpoint
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics

SMALL = ("--model.arch", "shufflenet_v2_x0_5", "--data.image_size", "32", "--data.num_workers", "0")
# `make properties` asks for more, at random; otherwise the same few are drawn every time.
EXAMPLES = os.environ.get("WOOF_EXAMPLES")
drawn = settings(
    max_examples=int(EXAMPLES or 25),
    derandomize=EXAMPLES is None,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=[Phase.explicit, Phase.generate],  # An example takes a second, so shrinking one takes many minutes.
)


@dataclass(frozen=True)
class Done:
    """What a call did: its exit code, or the traceback that it ended with, and what it printed."""

    code: int | str
    out: str
    err: str


@contextlib.contextmanager
def empty_folder() -> Iterator[Path]:
    before = Path.cwd()
    with TemporaryDirectory(prefix="woof-property-") as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def call(*args: object) -> Done:
    """Calls the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    code: int | str
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        try:
            code = main([str(arg) for arg in args])
        except BaseException:
            if isinstance(sys.exc_info()[1], KeyboardInterrupt):
                raise
            code = traceback.format_exc()
    return Done(code, out.getvalue(), err.getvalue())


def check_refusal(done: Done) -> None:
    """A refusal is exit code 2 with one message, and nothing is left that blocks the corrected command."""
    assert done.code == 2, done
    assert done.err.count("woof: error:") == 1, done.err
    assert not RunFolder(Path("runs/run")).has_trained() or "ended the run" in done.err, done.err


def check_run(*, checkpoints: bool = True) -> dict[str, Any]:
    """The files of a finished run agree with each other; returns its result.json."""
    run = RunFolder(Path("runs/run"))
    result: dict[str, Any] = json.loads(run.result.read_text(encoding="utf-8"))
    assert result["config"] == yaml.safe_load(run.config.read_text(encoding="utf-8"))
    rows = read_metrics(run.metrics)
    steps = [row["step"] for row in rows]
    assert steps == sorted(set(steps))
    validated = [row for row in rows if "val/acc1" in row]
    if validated:
        assert result["final"]["val/acc1"] == validated[-1]["val/acc1"]
        assert result["best"]["val/acc1"] == max(row["val/acc1"] for row in validated)
        assert result["best"]["val/acc5"] >= result["best"]["val/acc1"]
    assert len(result["elapsed_s"]) == result["epochs"]
    if not checkpoints:
        assert not run.best.exists()
        return result
    if result["epochs"]:
        assert read_checkpoint(run.last)["global_step"] >= max(steps, default=0)
    if result["best"]:
        own = result["config"]["trainer"]["limit_val_batches"] in (None, 1.0)
        found = validate(run.best, num_workers=0).metrics
        # Batches of other sizes sum in another order, and a limit validates fewer images.
        assert not own or abs(found["val/acc1"] - result["best"]["val/acc1"]) < 1e-6
    return result
