"""The numbers of the pages' prose: of the right run, with the right sign, in the right unit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docs.generate.values import value_text
from woof_lightning.cost.rows import Row
from woof_lightning.cost.summary import summary


def text_of(folder: Path, *names: str) -> list[str]:
    """The texts of some values."""
    return [value_text(folder, name) for name in names]


@pytest.fixture
def cost(tmp_path: Path) -> Path:
    """What `woof cost` would leave of one repeat."""
    values = {
        ("bare", "step_us", "off"): 400.0,
        ("bare", "step_us", "on"): 450.0,
        ("woof_fit", "step_us", "on"): 1600.0,
        ("lightning_barebones", "step_us", "off"): 900.0,
        ("lightning_barebones_no_search", "step_us", "off"): 750.0,
        ("bare", "step_us", "resnet18 128 px"): 600_000.0,
        ("woof_fit", "step_us", "resnet18 128 px"): 588_000.0,
        ("hand:alone", "step_us", "waterfall"): 400.0,
        ("hand:scheduler", "step_us", "waterfall"): 412.0,
        ("lightning:alone", "step_us", "waterfall"): 800.0,
        ("lightning:scheduler", "step_us", "waterfall"): 830.0,
        ("bare", "calls", "step"): 34.4,
    }
    rows = [Row(way, measure, condition, "here", 0, value, "") for (way, measure, condition), value in values.items()]
    (tmp_path / "summary.json").write_text(json.dumps(summary(rows, {})), encoding="utf-8")
    return tmp_path


def test_costs_are_over_the_bare_loop_in_the_same_condition(cost: Path) -> None:
    assert text_of(cost, "median:step_us:woof_fit:on", "over:step_us:woof_fit:on") == ["1,600", "1,150"]
    assert text_of(cost, "over:step_ms:woof_fit:on", "over:training_s:woof_fit:on") == ["1.15", "3.27"]
    assert text_of(cost, "over_low:step_us:bare:on", "over_high:step_us:bare:on") == ["50", "50"]
    # Faster than the bare loop.
    real = "step_us:woof_fit:resnet18-128-px"
    assert text_of(cost, f"over:{real}", f"over_percent:{real}") == ["-12,000", "-2"]
    assert text_of(cost, "share_of_step:woof_fit:on:resnet18-128-px") == ["0.19"]


def test_costs_of_two_ways_are_told_apart(cost: Path) -> None:
    ways = ("lightning_barebones", "lightning_barebones_no_search")
    names = (f"more:step_us:{':'.join(pair)}:off" for pair in (ways, ways[::-1]))
    assert text_of(cost, *names) == ["150", "-150"]
    assert text_of(cost, "feature:lightning:scheduler", "feature:hand:scheduler") == ["30", "12"]
    assert text_of(cost, "count:calls:bare") == ["34"]


@pytest.mark.parametrize(
    "name",
    [
        "over:step_us:woof_fit",  # Of which net?
        "over:step_us:bare:off",  # Over itself?
        "over:step_us:woofit:on",
        "over:step_us:woof_fit:on:off:on",
        "cost:step_us:woof_fit:on",
    ],
)
def test_a_value_that_is_not_one_is_refused(name: str, cost: Path) -> None:
    with pytest.raises((LookupError, TypeError)):
        value_text(cost, name)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs of three epochs; the best of the first is its second."""
    for name, top1, loss in (
        ("sgd_step", (0.3, 0.65, 0.6), (2, 1, 1.5)),
        ("adamw_onecycle", (0.2, 0.7, 0.8), (3, 2, 1)),
    ):
        run = tmp_path / name
        run.mkdir()
        best = max(top1)
        metrics = {"best": {"val/acc1": best, "val/acc5": best + 0.1}, "final": {"val/acc1": top1[-1]}}
        (run / "result.json").write_text(
            json.dumps({**metrics, "data": {"val": 400}, "train_s": 81.6}), encoding="utf-8"
        )
        lines = ["epoch,step,lr,val/loss,val/acc1"]
        for epoch in range(3):
            lines += [f"{epoch},{10 * epoch + 5},{0.1 if epoch else 0.04},,"]
            lines += [f"{epoch},{10 * epoch + 10},,{loss[epoch]},{top1[epoch]}"]
        (run / "metrics.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_accuracies_are_fractions_and_their_differences_points(runs: Path) -> None:
    assert text_of(runs, "top1:sgd_step", "top5:sgd_step", "top1:adamw_onecycle") == ["0.650", "0.750", "0.800"]
    assert text_of(runs, "gain:adamw_onecycle:sgd_step", "gain:sgd_step:adamw_onecycle") == ["+15.0", "-15.0"]
    assert text_of(runs, "post_gain:adamw_onecycle:sgd_step") == ["+13.6"]
    assert text_of(runs, "below_post:sgd_step", "below_post:adamw_onecycle") == ["4.0", "2.6"]
    assert text_of(runs, "spread:.", "standard_error:sgd_step", "standard_error:adamw_onecycle") == [
        "15.0",
        "2.4",
        "2.0",
    ]


def test_epochs_count_from_one(runs: Path) -> None:
    assert text_of(runs, "at:sgd_step:1:val/acc1", "at:sgd_step:3:val/loss") == ["0.300", "1.500"]
    assert text_of(runs, "lowest:sgd_step:val/loss", "lowest:adamw_onecycle:val/loss") == ["2", "3"]
    assert text_of(runs, "rise:sgd_step:1:best", "rise:sgd_step:1:3", "rise:sgd_step:2:3") == ["35.0", "30.0", "-5.0"]
    assert text_of(runs, "mean:sgd_step:lr", "train_s:sgd_step") == ["0.08", "82"]


def test_suggestions_are_of_one_finder_one_optimizer_and_one_head(tmp_path: Path) -> None:
    rows = """seed,optimizer,outputs,finder,suggestion
0,sgd,10,steepest,0.001
1,sgd,10,steepest,0.002
2,sgd,10,steepest,0.004
0,sgd,1000,steepest,0.016
0,sgd,10,valley,0.0001
1,sgd,10,valley,0.001
2,sgd,10,valley,0.002
3,sgd,10,valley,
0,adamw,10,steepest,0.03
"""
    (tmp_path / "suggestions.csv").write_text(rows, encoding="utf-8")
    (tmp_path / "training.csv").write_text(
        "optimizer,finder,loss_last_epoch\nsgd,valley,1.514\nadamw,valley,1.2\n", encoding="utf-8"
    )
    names = ("suggestion", "suggestion_low", "suggestion_high")
    assert text_of(tmp_path, *(f"{name}:sgd:steepest" for name in names)) == ["0.002", "0.001", "0.004"]
    assert text_of(tmp_path, "suggestion:adamw:steepest", "suggestion:sgd:steepest:1000") == ["0.03", "0.016"]
    below = (f"times_below_{end}:sgd:valley:steepest" for end in ("low", "high"))
    assert text_of(tmp_path, *below, "times_below_rate:0.02:sgd:steepest") == ["2", "10", "10"]
    assert text_of(tmp_path, "trained_loss:sgd:valley") == ["1.51"]


def test_speeds_are_compared_repeat_by_repeat(tmp_path: Path) -> None:
    rows = ["fp32 kept,10", "bf16,15", "fp32 kept,20", "bf16,60", "fp32 kept,10", "bf16,20"]
    (tmp_path / "rows.csv").write_text("\n".join(["setting,images_per_s", *rows]) + "\n", encoding="utf-8")
    assert text_of(tmp_path, "speed_times:bf16:fp32-kept", "speed_times:fp32-kept:bf16") == ["2", "0.5"]
