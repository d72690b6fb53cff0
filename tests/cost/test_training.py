"""What a whole training costs, from parts with round numbers."""

from __future__ import annotations

import pytest

from tests.cost.test_summary import in_order, rows
from woof_lightning.cost.measured import Rows
from woof_lightning.cost.plan import EPOCH_STEPS, EPOCH_VAL_BATCHES, WHOLE_EPOCHS
from woof_lightning.cost.rows import Row
from woof_lightning.cost.training import checked, whole_trainings

BARE = {"train_step_us": 100, "val_batch_us": 10, "epoch_us": 1000, "checkpoint_us": 2000, "files_per_epoch": 1}
FABRIC = {"train_step_us": 150, "val_batch_us": 30, "epoch_us": 4000, "checkpoint_us": 2500, "files_per_epoch": 2}


def parts(way: str, values: dict[str, int], machine: str = "here", condition: str = "whole") -> list[Row]:
    # A repeat of the median, and one on each side.
    return [
        row
        for measure, value in values.items()
        for row in rows(way, condition, in_order(value, 0.5 * value, 2 * value), measure, machine)
    ]


def test_the_post_s_training_is_its_parts_over_bare() -> None:
    starts = [
        *rows("bare", "start", in_order(2, 2), "first_step_s"),
        *rows("fabric", "start", in_order(3, 4), "first_step_s"),
    ]
    (found,) = whole_trainings(Rows([*parts("bare", BARE), *parts("fabric", FABRIC), *starts]))
    medians = {name: value["median"] for name, value in found["parts"].items()}
    assert found["way"] == "fabric"
    assert medians == {
        "steps": pytest.approx(40 * 71 * 50e-6),
        "validation": pytest.approx(40 * 246 * 20e-6),
        "epochs": pytest.approx(40 * 3000e-6),
        "checkpoints": pytest.approx(40 * (2 * 2500e-6 - 2000e-6)),
        "all": pytest.approx(sum(medians[name] for name in ("steps", "validation", "epochs", "checkpoints"))),
    }
    assert found["start"]["median"] == 1.5
    assert found["parts"]["all"]["low"] < medians["all"] < found["parts"]["all"]["high"]


def test_a_start_that_was_not_measured_is_none() -> None:
    (found,) = whole_trainings(Rows([*parts("bare", BARE), *parts("fabric", FABRIC)]))
    assert found["start"] is None
    assert whole_trainings(Rows(parts("fabric", FABRIC))) == []


def test_a_prediction_is_the_parts_of_that_training_without_its_first_step() -> None:
    exact_s = 1e-6 * (
        (WHOLE_EPOCHS * EPOCH_STEPS - 1) * 150
        + WHOLE_EPOCHS * EPOCH_VAL_BATCHES * 30
        + WHOLE_EPOCHS * (4000 + 2 * 2500)
    )
    measured = rows("fabric", "whole", in_order(2 * exact_s, 2 * exact_s, 2 * exact_s), "rest_s")
    (found,) = checked(Rows([*parts("fabric", FABRIC), *parts("fabric", BARE, condition="on"), *measured]))
    assert found["way"] == "fabric"
    assert found["predicted_s"]["median"] == pytest.approx(exact_s)
    assert found["measured_s"]["median"] == pytest.approx(2 * exact_s)
    assert found["ratio"]["median"] == pytest.approx(0.5)
