"""Any combination of Trainer settings and callbacks is a finished run or one message, never silence or a traceback."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, note
from hypothesis import strategies as st

from tests.properties.runs import SMALL, call, check_refusal, check_run, drawn, empty_folder

SETTINGS: dict[str, list[Any]] = {
    "trainer.max_epochs": [1, 2, 3, -1, 0],
    "trainer.min_epochs": [1, 2],
    "trainer.max_steps": [-1, 3, 5, 0],
    "trainer.min_steps": [1, 4],
    "trainer.max_time": ["00:00:00:00", "00:01:00:00"],
    "trainer.limit_train_batches": [0, 1, 2, 0.5, 1.0, 0.01, 100],
    "trainer.limit_val_batches": [0, 1, 2, 0.5, 1.0, 0.01, 0.0],
    "trainer.val_check_interval": [1, 2, 0.5, 1.0, 0.01, 100, "00:00:00:01"],
    "trainer.check_val_every_n_epoch": [1, 2, None],
    "trainer.accumulate_grad_batches": [1, 2, 3, 100],
    "trainer.gradient_clip_val": [0, 0.5],
    "trainer.gradient_clip_algorithm": ["norm", "value", "none"],
    "trainer.precision": ["32-true", "32", "bf16-mixed", "64-true", "bf16-true", "16-mixed"],
    "trainer.log_every_n_steps": [0, 1, 3, 50],
    "trainer.num_sanity_val_steps": [0, 1, -1],
    "trainer.enable_checkpointing": [True, False],
    "trainer.enable_progress_bar": [True, False],
    "trainer.enable_model_summary": [True, False],
    "trainer.deterministic": [True, False, "warn"],
    "trainer.detect_anomaly": [True, False],
    "trainer.inference_mode": [True, False],
    "trainer.use_distributed_sampler": [True, False],
    "trainer.reload_dataloaders_every_n_epochs": [0, 1],
    "trainer.profiler": ["simple", "advanced"],
    "trainer.logger": [True, False, "CSVLogger"],
    "trainer.overfit_batches": [0, 1],
    "trainer.devices": [1, "auto", 0],
    "trainer.accelerator": ["cpu", "auto", "gpu"],
    "model.schedule": ["step", "onecycle"],
    "model.optimizer": ["sgd", "adamw", "torch.optim.Adagrad", "torch.optim.LBFGS", "torch.optim.Muon"],
    "model.num_classes": [2, 7, 1],
    "data.batch_size": [4, 5, 7, 16],
    "data.eval_batch_size": [1, 3, 16],
    "save_every": [1, 3],
    "seed_everything": [0, 7],
}
CALLBACKS: list[tuple[str, dict[str, Any]]] = [
    ("BackboneFinetuning", {}),
    ("BatchSizeFinder", {}),
    ("DeviceStatsMonitor", {"cpu_stats": False}),
    ("EarlyStopping", {"monitor": "val/loss", "patience": 1}),
    ("EarlyStopping", {"monitor": "train/loss"}),
    ("EMAWeightAveraging", {"decay": 0.5}),
    ("EMAWeightAveraging", {"update_starting_at_epoch": 1}),
    ("GradientAccumulationScheduler", {"scheduling": {0: 2}}),
    ("LearningRateFinder", {}),
    ("LearningRateMonitor", {}),
    ("LearningRateMonitor", {"logging_interval": "step", "log_momentum": True}),
    ("ModelCheckpoint", {"dirpath": "mine", "every_n_train_steps": 2}),
    ("ModelCheckpoint", {"dirpath": "mine", "monitor": "val/loss"}),
    ("ModelPruning", {"pruning_fn": "l1_unstructured"}),
    ("ModelSummary", {"max_depth": 2}),
    ("OnExceptionCheckpoint", {"dirpath": "mine"}),
    ("StochasticWeightAveraging", {"swa_lrs": 0.1}),
    ("Timer", {"duration": "00:01:00:00", "interval": "epoch"}),
    ("TQDMProgressBar", {}),
    ("WeightAveraging", {}),
]


@st.composite
def settings_of_a_run(draw: st.DrawFn) -> dict[str, Any]:
    keys = draw(st.sets(st.sampled_from(sorted(SETTINGS)), max_size=6))
    chosen = {key: draw(st.sampled_from(SETTINGS[key])) for key in sorted(keys)}
    callbacks = draw(st.lists(st.sampled_from(CALLBACKS), max_size=2, unique_by=lambda pair: pair[0]))
    if callbacks:
        chosen["trainer.callbacks"] = [
            {"class_path": f"lightning.pytorch.callbacks.{name}", "init_args": arguments}
            for name, arguments in callbacks
        ]
    return chosen


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An own folder of two classes with 20 + 6 images."""
    import numpy as np
    from PIL import Image

    root, generator = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 3)):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 255, (40, 40, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


@pytest.mark.long
@drawn
@given(chosen=settings_of_a_run())
def test_a_run_finishes_or_is_refused(chosen: dict[str, Any], images: Path) -> None:
    defaults = {"trainer.max_epochs": 1, "data.batch_size": 8, "trainer.accelerator": "cpu"}
    options = [f"--{key}={_text(value)}" for key, value in (defaults | chosen).items()]
    with empty_folder():
        done = call("fit", *SMALL, "--data.folder", images, "--name", "run", *options)
        note(f"{options}\n{done.out}\n{done.err}\n{done.code}")
        event(f"exit code {done.code}")
        if done.code != 0:
            check_refusal(done)
            return
        result = check_run(checkpoints=chosen.get("trainer.enable_checkpointing") is not False)
        assert result["status"] in ("finished", "stopped early")
        epochs, steps = (defaults | chosen)["trainer.max_epochs"], chosen.get("trainer.max_steps", -1)
        if result["status"] == "finished" and steps == -1:
            assert result["epochs"] == epochs
        if result["status"] == "stopped early":
            named = json.dumps(chosen)
            assert any(cause in named for cause in ("EarlyStopping", "max_time", "Timer")), named
        assert math.isfinite(result["train_s"])


def _text(value: Any) -> str:
    if isinstance(value, list):
        return json.dumps(value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
