"""The training loss, by its formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from woof_lightning.errors import UserError
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.loss import build_loss, class_weights

CPU = torch.device("cpu")
LOGITS, LABELS = torch.tensor([[1.0, 2.0, 0.5], [0.2, 0.1, 3.0], [2.0, 0.0, 0.0]]), torch.tensor([0, 2, 0])
IMAGES = [0, 0, 0, 0, 1, 1, 2, 2, 2]


def config(**settings: Any) -> ModelConfig:
    return ModelConfig(num_classes=3, **settings)


def test_by_default_it_is_the_cross_entropy_to_the_bit() -> None:
    assert torch.equal(build_loss(config(), None, CPU)(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS))


def test_label_smoothing_spreads_a_share_over_all_classes() -> None:
    logs = LOGITS.log_softmax(1)
    expected = -(0.7 * logs[range(3), LABELS] + 0.3 * logs.mean(1)).mean()
    assert build_loss(config(label_smoothing=0.3), None, CPU)(LOGITS, LABELS) == pytest.approx(float(expected))


@pytest.mark.parametrize("chosen", ["balanced", [0.75, 1.5, 1.0]])
def test_class_weights_weigh_each_image_by_its_class(chosen: Any) -> None:
    """Balanced weights are images / (classes * images of the class), as scikit-learn's."""
    weights = [0.75, 1.5, 1.0]
    assert class_weights(config(class_weights=chosen), IMAGES) == pytest.approx(weights)
    each = -LOGITS.log_softmax(1)[range(3), LABELS]
    its_weights = torch.tensor([weights[label] for label in LABELS])
    loss = build_loss(config(class_weights=chosen), IMAGES, CPU)(LOGITS, LABELS)
    assert loss == pytest.approx(float((each * its_weights).sum() / its_weights.sum()))


def test_outputs_of_no_class_weigh_1() -> None:
    assert class_weights(ModelConfig(num_classes=5, class_weights="balanced"), [0, 0, 1]) == [0.75, 1.5, 1, 1, 1]


def test_weights_for_other_outputs_are_refused() -> None:
    with pytest.raises(UserError, match="model.class_weights has 2 numbers, but the net has 3 outputs"):
        class_weights(config(class_weights=[1.0, 2.0]), IMAGES)
    with pytest.raises(UserError, match="the training images are not known"):
        class_weights(config(class_weights="balanced"), None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"class_weights": "equal"}, "class_weights is 'equal': expected null, balanced, or a list"),
        ({"class_weights": [1.0, 0.0, 1.0]}, "above 0, one for each class"),
        ({"class_weights": [1.0, float("nan"), 1.0]}, "above 0, one for each class"),
        ({"class_weights": []}, "above 0, one for each class"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0: expected at least 0 and below 1"),
        ({"freeze_epochs": -1}, "freeze_epochs is -1: expected 0 or more"),
        ({"freeze_epochs": 1}, "freeze_epochs is 1 without model.weights: a random backbone"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0: expected null, or above 0 and below 1"),
        ({"backbone_lr_factor": 0.0}, "backbone_lr_factor is 0.0: expected null or a factor above 0"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(**settings)
