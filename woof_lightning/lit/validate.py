"""Validating a checkpoint with Lightning's Trainer: the logged metrics again, and more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torchmetrics.classification import MulticlassConfusionMatrix

from woof_lightning.errors import UserError
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.lit.quiet import quieten_libraries
from woof_lightning.lit.trainer import check_accelerator
from woof_lightning.recipe.checkpoint import check_same_classes, read_checkpoint, recipe_of


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Args:
        metrics: val/loss, val/acc1 and val/acc5: means over the images.
        classes: The class folders' names.
        breeds: A readable name for each.
        confusion: confusion[i][j] images of class i were taken for class j; a last column counts
            outputs that are no class of the data, where the head has any.
    """

    metrics: dict[str, float]
    classes: list[str]
    breeds: list[str]
    confusion: list[list[int]]

    def class_accuracy(self) -> list[float]:
        """Per class, the fraction of its images that were named right."""
        return [row[place] / sum(row) for place, row in enumerate(self.confusion)]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        names = zip(self.classes, self.breeds, self.class_accuracy(), strict=True)
        per_class = [{"class": name, "breed": breed, "acc1": accuracy} for name, breed, accuracy in names]
        return {**self.metrics, "per_class": per_class, "confusion": self.confusion}


class ConfusionMatrix(Callback):
    """Counts which class was taken for which while a LightningModule's validation_step returns logits."""

    def __init__(self, outputs: int) -> None:
        self.matrix = MulticlassConfusionMatrix(outputs)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Moves the counts to where the logits are."""
        self.matrix.to(pl_module.device)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        """Adds a batch."""
        self.matrix.update(outputs, batch[1])


def validate(checkpoint_file: Path, accelerator: str = "auto", **data: Any) -> Validation:
    """Validates a checkpoint on its own data.

    Args:
        checkpoint_file: A checkpoint of this project, of any loop.
        accelerator: Lightning's.
        data: Settings of DataConfig to use instead of the run's, such as where the images lie now.

    Raises:
        UserError: When there is no such accelerator, or the checkpoint cannot be read or is not of this data.
    """
    quieten_libraries()
    check_accelerator(accelerator, "--accelerator")
    checkpoint = read_checkpoint(checkpoint_file)
    trained = recipe_of(checkpoint)
    if data.keys() & {"root", "archive"}:
        data.setdefault("folder", None)  # A run on a folder is validated elsewhere now.
    # Noisy labels are those of training images, and other images have none.
    datamodule = ImagewoofDataModule(seed=trained.seed, **_paths({**trained.data, **data, "noisy_labels": 0}))
    datamodule.prepare_data()
    datamodule.setup("validate")
    assert datamodule.index is not None
    check_same_classes(trained, datamodule.index.classes)

    classifier = WoofClassifier(seed=trained.seed, **trained.model)
    classifier.on_load_checkpoint(checkpoint)
    try:
        classifier.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise UserError(f"--ckpt is {checkpoint_file}: its weights are not those of {trained.model['arch']}") from error

    confusion = ConfusionMatrix(int(trained.model["num_classes"]))
    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        precision=cast(Any, trained.precision),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[confusion],
    )
    trainer.validate(classifier, datamodule=datamodule, verbose=False)
    return Validation(
        classifier.val_means, trained.classes, trained.breeds, _rows(confusion.matrix, len(trained.classes))
    )


def _rows(matrix: MulticlassConfusionMatrix, classes: int) -> list[list[int]]:
    counts = matrix.compute()[:classes]
    rows = [row[:classes].tolist() + ([int(row[classes:].sum())] if len(row) > classes else []) for row in counts]
    return [[int(count) for count in row] for row in rows]


def _paths(data: dict[str, Any]) -> dict[str, Any]:
    keys = ("root", "folder", "archive")
    return {name: Path(value) if name in keys and value is not None else value for name, value in data.items()}
