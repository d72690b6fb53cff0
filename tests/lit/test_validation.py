"""What a validation counts, on confusions and curves that are known."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from woof_lightning.lit.lr_finder import FEWEST_STEPS, LRFound, check_one_device, check_sweep
from woof_lightning.lit.lr_suggestion import CLEAR, SKIP_FIRST, SKIP_LAST
from woof_lightning.lit.validate import ConfusionMatrix, Validation, _rows
from woof_lightning.runs.lr_curve import LRCurve


def confused(outputs: int, *pairs: tuple[int, int]) -> ConfusionMatrix:
    """Images of classes with what they were taken for."""
    found = ConfusionMatrix(outputs)
    for label, answer in pairs:
        logits = torch.nn.functional.one_hot(torch.tensor([answer]), outputs).float()
        found.on_validation_batch_end(None, None, logits, (None, torch.tensor([label])), 0)  # type: ignore[arg-type]
    return found


def test_rows_are_the_images_of_a_class() -> None:
    found = confused(3, (0, 0), (0, 1), (0, 1), (2, 0))
    assert _rows(found.matrix, 3) == [[1, 2, 0], [0, 0, 0], [1, 0, 0]]


def test_answers_that_are_no_class_have_one_more_column() -> None:
    found = confused(6, (0, 0), (0, 1), (0, 4), (0, 5), (1, 1))
    assert _rows(found.matrix, 2) == [[1, 1, 2], [0, 1, 0]]


def test_accuracies_are_those_of_the_classes_own_images() -> None:
    found = Validation({"val/acc1": 0.5}, ["a", "b"], ["A", "B"], [[3, 1], [4, 4]])
    assert found.class_accuracy() == [0.75, 0.5]
    assert found.as_dict() == {
        "val/acc1": 0.5,
        "per_class": [{"class": "a", "breed": "A", "acc1": 0.75}, {"class": "b", "breed": "B", "acc1": 0.5}],
        "confusion": [[3, 1], [4, 4]],
    }


LRS = tuple(10 ** (-5 + place / 10) for place in range(50))
CURVE = LRCurve(LRS, tuple(2.0 - place / 100 for place in range(50)), (2.0,) * 50)


def found(**given: Any) -> LRFound:
    defaults: dict[str, Any] = {
        "steepest": 0.0123456,
        "valley": 0.00234567,
        "clearness": CLEAR,
        "suggested_by": "steepest",
    }
    more = {"curve": CURVE, "lightning": 1e-4, "stopped": "finished", "steps": 50}
    return LRFound(**(defaults | more | given))


@pytest.mark.parametrize(("rule", "rate"), [("steepest", 0.0123), ("valley", 0.00235)])
def test_a_suggestion_has_three_digits(rule: str, rate: float) -> None:
    assert found(suggested_by=rule).suggestion == rate


@pytest.mark.parametrize(("clearness", "noted"), [(CLEAR, False), (CLEAR - 0.1, True)])
def test_an_unclear_descent_is_noted(clearness: float, noted: bool) -> None:
    note = found(clearness=clearness, suggested_by="valley").note
    assert (note is not None) == noted
    if note:
        assert f"by {clearness:.1f} standard errors" in note
        assert "valley is suggested" in note


@pytest.mark.parametrize(
    ("stopped", "told"),
    [
        ("diverged", "the loss diverged at lr 0.0001"),
        ("not finite", "the loss became NaN or infinite at lr 0.0001"),
        ("finished", "the training data ended"),
    ],
)
def test_a_short_sweep_tells_how_it_ended(stopped: str, told: str) -> None:
    short = LRCurve(LRS[:11], CURVE.loss[:11], CURVE.raw_loss[:11])
    problem = found(steepest=None, suggested_by=None, curve=short, stopped=stopped).problem
    assert problem
    assert problem.startswith(f"the sweep has 11 points before {told}: expected at least {FEWEST_STEPS}; ")


def test_a_sweep_without_a_descent_tells_where_it_looked() -> None:
    none = found(steepest=None, suggested_by=None)
    assert none.problem
    assert none.problem.startswith(f"from lr {LRS[SKIP_FIRST]:.3g} to {LRS[-1]:.3g} (the first {SKIP_FIRST} points")
    assert none.note is None
    assert none.as_dict()["suggestion"] is None
    with pytest.raises(Exception, match="the loss never falls"):
        _ = none.suggestion
    assert found().problem is None
    empty = found(steepest=None, suggested_by=None, curve=LRCurve((), (), ()), stopped="diverged")
    assert "has 0 points before the loss diverged: expected" in str(empty.problem)


def test_marks_have_the_suggestion_first() -> None:
    labels = list(found().marks())
    assert labels[0].startswith("steepest")
    marks = found(suggested_by="valley").marks()
    assert list(marks)[0].startswith("valley")  # noqa: RUF015
    assert list(marks.values()) == [0.00234567, 0.0123456, 1e-4]


def test_plain_values_leave_out_the_curve() -> None:
    plain = found().as_dict()
    assert plain == {
        "suggestion": 0.0123, "problem": None, "note": None, "steepest": 0.0123456, "valley": 0.00234567,
        "clearness": CLEAR, "suggested_by": "steepest", "lightning": 1e-4, "stopped": "finished", "steps": 50,
        "points": 50, "skipped_first": SKIP_FIRST, "skipped_last": SKIP_LAST,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((0.0, 1.0, FEWEST_STEPS, None), "min_lr is 0.0 and max_lr 1.0: expected 0 < min_lr < max_lr"),
        ((1.0, 1.0, FEWEST_STEPS, None), "min_lr is 1.0 and max_lr 1.0"),
        ((0.1, math.inf, FEWEST_STEPS, None), "max_lr inf"),
        ((0.1, 1.0, FEWEST_STEPS - 1, None), f"num_training is {FEWEST_STEPS - 1}: expected at least {FEWEST_STEPS}"),
        ((0.1, 1.0, FEWEST_STEPS, 1.0), "early_stop_threshold is 1.0: expected above 1"),
        ((0.1, 1.0, FEWEST_STEPS, math.nan), "early_stop_threshold is nan"),
    ],
)
def test_the_bounds_of_a_sweep(arguments: tuple[float, float, int, float | None], told: str) -> None:
    check_sweep(0.1, 1.0, FEWEST_STEPS, 1.01)
    check_sweep(0.1, 1.0, FEWEST_STEPS, None)
    with pytest.raises(Exception, match=told):
        check_sweep(*arguments)


def test_a_sweep_takes_one_device() -> None:
    one: Any = SimpleNamespace(world_size=1)
    check_one_device(one)
    with pytest.raises(Exception, match="the trainer has 2 processes: a sweep takes one"):
        check_one_device(SimpleNamespace(world_size=2))  # type: ignore[arg-type]
