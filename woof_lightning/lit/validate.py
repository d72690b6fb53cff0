"""Validates a checkpoint with Lightning's Trainer: the logged metrics, accuracy per class, confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torchmetrics.classification import MulticlassConfusionMatrix

from woof_lightning.data.config import DataConfig
from woof_lightning.data.imagewoof import data_folder, data_to_validate, open_data
from woof_lightning.data.notes import tell
from woof_lightning.data.splitting import Split
from woof_lightning.errors import UserError
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.lit.quiet import quieten_libraries
from woof_lightning.lit.trainer import check_accelerator
from woof_lightning.recipe.checkpoint import TrainedRecipe, check_same_classes, read_checkpoint, recipe_of


@dataclass(frozen=True)
class Validation:
    """The results of a validation.

    Args:
        metrics: val/loss (nats), val/acc1 and val/acc5 (fractions): means over the images.
        classes: Names of the class folders.
        breeds: A readable name per class.
        confusion: confusion[i][j] is the number of images of class i that were predicted as class j. If the head has
            more outputs than the data has classes, a last column counts the predictions that are none of the classes.
    """

    metrics: dict[str, float]
    classes: list[str]
    breeds: list[str]
    confusion: list[list[int]]

    def class_accuracy(self) -> list[float]:
        """Returns the top-1 accuracy of each class, a fraction."""
        return [row[place] / sum(row) for place, row in enumerate(self.confusion)]

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values for a JSON file."""
        names = zip(self.classes, self.breeds, self.class_accuracy(), strict=True)
        per_class = [{"class": name, "breed": breed, "acc1": accuracy} for name, breed, accuracy in names]
        return {**self.metrics, "per_class": per_class, "confusion": self.confusion}


class ConfusionMatrix(Callback):
    """Counts which class was predicted for which, for a LightningModule whose validation_step returns logits.

    Args:
        outputs: Number of outputs of the net.
    """

    def __init__(self, outputs: int) -> None:
        self.matrix = MulticlassConfusionMatrix(outputs)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Moves the counts to the device of the logits."""
        self.matrix.to(pl_module.device)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        """Adds a batch."""
        self.matrix.update(outputs, batch[1])


def validate(checkpoint_file: Path, accelerator: str = "auto", **data: Any) -> Validation:
    """Validates a checkpoint on the data that it was trained with.

    Args:
        checkpoint_file: A checkpoint of this project, written by any loop.
        accelerator: A value of trainer.accelerator.
        data: Settings of DataConfig that override those of the run, such as a new place of the images.

    Raises:
        UserError: If the accelerator is not available, the checkpoint cannot be read, or the data has other classes.
    """
    quieten_libraries()
    check_accelerator(accelerator, "--accelerator")
    checkpoint = read_checkpoint(checkpoint_file)
    trained = recipe_of(checkpoint)
    datamodule = data_for(trained, data)
    datamodule.prepare_data()
    datamodule.setup("validate")
    assert datamodule.index is not None
    check_same_classes(trained, datamodule.index.classes)
    tell(datamodule.index)

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


def data_for(trained: TrainedRecipe, data: dict[str, Any]) -> ImagewoofDataModule:
    """Returns the data that a run is validated on: its own, or other data.

    Args:
        trained: The run's recipe.
        data: Settings that override those of the run.

    Raises:
        UserError: If the images of another folder cannot be used.
    """
    # noisy_labels concerns training images only, and folders cannot have it.
    settings = {**trained.data, **data, "noisy_labels": 0}
    if data.keys() & {"root", "archive"}:
        # A run that was trained on data.folder can be validated on a data set in root, which has train/ and val/.
        settings |= {"folder": None, "val_share": Split().val_share, "split_seed": Split().seed}
    datamodule = ImagewoofDataModule(seed=trained.seed, **settings)
    if data.get("folder") is not None and not are_the_run_s(trained, datamodule.config):
        datamodule.index = data_to_validate(datamodule.config)
    return datamodule


def are_the_run_s(trained: TrainedRecipe, config: DataConfig) -> bool:
    """Returns whether a folder has the images of a run, so that those which it was trained on must be left out.

    Args:
        trained: The run's recipe.
        config: The settings of the data, with the folder.
    """
    own, folder = trained.data["folder"], data_folder(config)
    if not folder.is_dir():
        return False
    if own is not None and folder.resolve() == Path(own).resolve() and not (folder / "val").is_dir():
        return True  # Images that were added since are divided as those of the run.
    try:
        return open_data(config).fingerprint == trained.fingerprint
    except UserError:  # It has no images to train on.
        return False


def _rows(matrix: MulticlassConfusionMatrix, classes: int) -> list[list[int]]:
    counts = matrix.compute()[:classes]
    rows = [row[:classes].tolist() + ([int(row[classes:].sum())] if len(row) > classes else []) for row in counts]
    return [[int(count) for count in row] for row in rows]
