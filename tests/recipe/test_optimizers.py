"""Which setting of an optimizer wins, and what one-cycle moves at each step, by its formula."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tests.conftest import CONFIGS, Woof
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.optim import build_optimizer, build_schedule, check_optimizer, optimizer_report
from woof_lightning.runs.metrics import read_metrics

NET = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("choice", "recipe", "found"),
    [
        # The recipe's values, where the optimizer has arguments of these names.
        ("sgd", {"lr": 0.3, "momentum": 0.7, "weight_decay": 0.2}, {"lr": 0.3, "momentum": 0.7, "weight_decay": 0.2}),
        ("adamw", {"lr": 0.3, "momentum": 0.7, "weight_decay": 0.2}, {"lr": 0.3, "weight_decay": 0.2}),
        # init_args win over them.
        (
            {"class_path": "sgd", "init_args": {"lr": 0.5, "momentum": 0.6, "weight_decay": 0.1, "nesterov": True}},
            {"lr": 0.3, "momentum": 0.7, "weight_decay": 0.2},
            {"lr": 0.5, "momentum": 0.6, "weight_decay": 0.1, "nesterov": True},
        ),
        (
            {"class_path": "torch.optim.AdamW", "init_args": {"weight_decay": 0.1, "betas": [0.8, 0.9]}},
            {"lr": 0.3, "weight_decay": 0.2},
            {"lr": 0.3, "weight_decay": 0.1, "betas": (0.8, 0.9)},
        ),
    ],
)
def test_init_args_win_over_the_recipe(choice: Any, recipe: dict[str, Any], found: dict[str, Any]) -> None:
    optimizer = build_optimizer(NET.parameters(), ModelConfig(optimizer=choice, schedule="step", **recipe))
    (group,) = optimizer.param_groups
    assert {name: group[name] for name in found} == found


def one_cycle(step: int, steps: int, lr: float) -> tuple[float, float]:
    """Learning rate and momentum of a step: cosines up to 30 % of the steps and down again (Smith, 2018)."""
    top = 0.3 * steps - 1

    def between(start: float, end: float, share: float) -> float:
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    if step <= top:
        share = step / top
        return between(lr / 25, lr, share), between(0.95, 0.85, share)
    share = (step - top) / (steps - 1 - top)
    return between(lr, lr / 25 / 1e4, share), between(0.85, 0.95, share)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "torch.optim.NAdam", "torch.optim.RMSprop"])
def test_one_cycle_moves_learning_rate_and_momentum_at_each_step(optimizer: str) -> None:
    config, steps = ModelConfig(optimizer=optimizer, lr=0.02), 40
    used = build_optimizer(NET.parameters(), config)
    schedule = build_schedule(used, config, steps)
    assert schedule.interval == "step"
    for step in range(steps):
        lr, momentum = one_cycle(step, steps, 0.02)
        assert optimizer_report(used) == {"lr": pytest.approx(lr), "momentum": pytest.approx(momentum)}
        used.step()
        if step < steps - 1:
            schedule.scheduler.step()


@pytest.mark.parametrize("config", ["adamw_onecycle", "sgd_onecycle"])
def test_a_run_s_columns_follow_the_cycle(config: str, woof: Woof, small_fit: list[str]) -> None:
    """Of AdamW, the momentum is the first beta."""
    options = [str(CONFIGS / f"{config}.yaml") if word.endswith("adamw_onecycle.yaml") else word for word in small_fit]
    done = woof("fit", *options, "--trainer.log_every_n_steps", 1, "--model.lr", 0.02, "--trainer.max_epochs", 3)
    assert done.code == 0, done.err
    rows = read_metrics(Path(f"runs/{config}/metrics.csv"))
    assert len(rows) == 12
    for step, row in enumerate(rows):
        lr, momentum = one_cycle(step, 12, 0.02)
        assert row["lr"] == pytest.approx(lr)
        assert row["momentum"] == pytest.approx(momentum)


def test_the_step_schedule_moves_the_learning_rate_alone() -> None:
    config = ModelConfig(optimizer="sgd", schedule="step", lr=0.1, momentum=0.8)
    used = build_optimizer(NET.parameters(), config)
    schedule = build_schedule(used, config, math.inf)
    assert schedule.interval == "epoch"
    seen = []
    for _ in range(61):
        seen.append(optimizer_report(used))
        used.step()
        schedule.scheduler.step()
    assert [report["lr"] for report in seen] == pytest.approx([0.1] * 30 + [0.01] * 30 + [0.001])
    assert {report["momentum"] for report in seen} == {0.8}


def test_an_optimizer_of_matrices_alone_is_checked_on_one() -> None:
    check_optimizer(ModelConfig(optimizer="torch.optim.Muon", schedule="step"))
