"""The recipe as a LightningModule."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.loading import Batch, smallest_batch, taken
from woof_lightning.data.transforms import normalise
from woof_lightning.errors import UserError
from woof_lightning.lit.averaging import check_averaged
from woof_lightning.lit.callbacks.freezing import FrozenBackbone
from woof_lightning.lit.devices import shares_in
from woof_lightning.lit.module import LeanModule
from woof_lightning.recipe.checkpoint import NET_PREFIX, RECIPE_KEY, TrainedRecipe, check_same_classes, recipe_of
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.head import parameter_groups
from woof_lightning.recipe.loss import Loss, build_loss
from woof_lightning.recipe.metrics import SplitMeans, epoch_means, training_report
from woof_lightning.recipe.model import build_net, check_arch, check_fits, outputs_for
from woof_lightning.recipe.optim import build_optimizer, build_schedule, check_optimizer, optimizer_report
from woof_lightning.recipe.processes import from_first
from woof_lightning.recipe.shares import Shares, check_divisible, joined
from woof_lightning.recipe.weights import Start, loaded_into, resumed_start

NEVER = sys.maxsize
# The reports of an interrupted epoch up to now, for its mean.
REPORTS_KEY = "epoch_reports"


class WoofClassifier(LeanModule):
    """Trains a torchvision classifier.

    It computes and logs training metrics at every `log_every_n_steps`-th step only. Validation metrics are means over
    all images of the split. It needs num_classes, or a datamodule with an `index` such as ImagewoofDataModule.

    Args:
        arch: Name of a torchvision classifier, such as resnet18.
        num_classes: Number of outputs of the head. null takes the data's number of classes; 1000 is torchvision's
            unchanged head.
        optimizer: sgd, adamw, the class path of another torch optimizer, or a mapping with class_path and init_args.
        schedule: step (learning rate times 0.1 every 30 epochs, stepped per epoch) or onecycle (stepped per batch over
            the whole training).
        lr: Learning rate; for onecycle its maximum.
        momentum: Momentum, for optimizers that have one. onecycle cycles it between 0.85 and 0.95.
        weight_decay: Weight decay, on all parameters.
        channels_last: Keep weights and images in the channels_last memory format, which is faster on most CPUs and on
            tensor cores.
        compile: Compile the net with torch.compile.
        weights: Trained weights to start from: the name of torchvision's published ones for this arch (DEFAULT,
            IMAGENET1K_V1, …), a file (.pt, .pth, .safetensors), or a run's folder or checkpoint. A new head replaces
            the loaded one if its number of outputs differs. null starts from random weights.
        freeze_epochs: Number of epochs at the start that train the head alone. It needs weights.
        backbone_lr_factor: Learning rate of the backbone, as a factor of lr, which is the head's. null is 0.1 with
            weights, and 1 without.
        label_smoothing: Share of each training label that is spread evenly over all classes, from 0 to below 1.
        class_weights: Weight of each class in the training loss: balanced (all classes count the same, however many
            images they have), or a list of numbers in the order of the class folders. null weighs images equally.
        ema_decay: Decay of an exponential moving average of the weights, such as 0.99. The averaged weights are
            validated and saved. null does not average.
        seed: Seed of the initial weights.

    Raises:
        UserError: If a setting cannot be used.

    Examples:
        >>> from lightning.pytorch import Trainer
        >>> from woof_lightning import ImagewoofDataModule, WoofClassifier
        >>> model = WoofClassifier(arch="shufflenet_v2_x0_5", optimizer="sgd", schedule="step", lr=0.1)
        >>> data = ImagewoofDataModule(variant="synthetic", image_size=32, batch_size=48, num_workers=0)
        >>> trainer = Trainer(
        ...     max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        ...     enable_model_summary=False,
        ... )
        >>> trainer.fit(model, datamodule=data)
        >>> 0 <= float(trainer.callback_metrics["val/acc1"]) <= 1
        True
    """

    def __init__(
        self,
        *,
        arch: str = "resnet18",
        num_classes: int | None = None,
        optimizer: str | dict[str, Any] = "adamw",
        schedule: str = "onecycle",
        lr: float = 0.02,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        channels_last: bool = False,
        compile: bool = False,
        weights: str | None = None,
        freeze_epochs: int = 0,
        backbone_lr_factor: float | None = None,
        label_smoothing: float = 0.0,
        class_weights: list[float] | str | None = None,
        ema_decay: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = ModelConfig(
            arch=arch,
            num_classes=num_classes,
            optimizer=optimizer,
            schedule=schedule,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            channels_last=channels_last,
            compile=compile,
            weights=weights,
            freeze_epochs=freeze_epochs,
            backbone_lr_factor=backbone_lr_factor,
            label_smoothing=label_smoothing,
            class_weights=class_weights,
            ema_decay=ema_decay,
        )
        check_arch(arch)
        check_optimizer(self.config)
        self.seed = seed
        self.save_hyperparameters(logger=False)
        self.net: nn.Module | None = None
        self.trained: TrainedRecipe | None = None
        self.start, self.starts_fresh = Start(), True
        self.loss: Loss = F.cross_entropy
        self._weight_names: frozenset[str] = frozenset()
        self.report: dict[str, float] = {}
        self.val_means: dict[str, float] = {}
        self.val_batch_means: dict[str, float] = {}
        self._epoch_reports: list[dict[str, float]] = []
        self._report_every = 1
        self._means = SplitMeans()
        self._shares: Shares | None = None

    def setup(self, stage: str) -> None:
        """Checks that the net fits the batches, and notes what the checkpoints say about the data.

        Raises:
            UserError: If the net cannot take images of that size, or the last batch is too small for it.
        """
        data, index = getattr(self.trainer, "datamodule", None), self._index
        if data is not None and index is not None:
            model = replace(self.config, num_classes=outputs_for(self.config.num_classes, index))
            precision = str(self.trainer.precision)
            if stage == "fit":
                self.check_fits(data.config, index)
            self.trained = TrainedRecipe.of(model, data.config, index, seed=self.seed, precision=precision)

    def check_fits(self, data: DataConfig, index: ImageIndex, trainer: Trainer | None = None) -> None:
        """Raises a UserError if the net cannot be trained on the batches of a data set.

        Args:
            data: The settings of the data.
            index: The images.
            trainer: The Trainer; by default the one that the module is attached to.
        """
        trainer = trainer or self.trainer
        batches = taken(-(-len(index.train) // data.batch_size), trainer.limit_train_batches)
        smallest = smallest_batch(data, index, world_size=trainer.world_size, batches=batches)
        check_fits(self.config.arch, image_size=data.image_size, smallest_batch=smallest)

    @property
    def _index(self) -> ImageIndex | None:
        return getattr(getattr(self.trainer, "datamodule", None), "index", None)

    def configure_model(self) -> None:
        """Builds the net if there is none yet, because the data's number of classes is not known earlier."""
        # In load_from_checkpoint there is no trainer, and the checkpoint builds the net.
        if self.net is None and self._trainer is not None:
            self.starts_fresh = self.trainer._checkpoint_connector._ckpt_path is None
            self.build(self._index)

    def configure_callbacks(self) -> list[Callback]:
        """Returns the callback that freezes the backbone in the first epochs, if some are frozen."""
        return [FrozenBackbone(self.config)] if self.config.freeze_epochs > 0 else []

    def build(self, index: ImageIndex | None) -> None:
        """Builds the net, which starts from model.weights unless `starts_fresh` is False.

        Args:
            index: The images; None without an ImagewoofDataModule.

        Raises:
            UserError: If the number of outputs is not known, the data has more classes, or the weights cannot be used.
        """
        self._build(outputs_for(self.config.num_classes, index))
        if self.starts_fresh and self.net is not None:
            self.start = loaded_into(self.net, self.config)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ([B, 3, H, W], uint8) to logits ([B, C], of the weights' type)."""
        assert self.net is not None, "configure_model() or a checkpoint builds the net"
        batch = normalise(images, self.config.channels_last, self.start.normalisation)
        logits: Tensor = self.net(batch if self.dtype == torch.float32 else batch.to(self.dtype))
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the mean loss of a batch: images ([B, 3, H, W], uint8) and labels ([B], int64)."""
        images, labels = batch
        logits = self(images)
        loss = self.loss(logits, labels)
        if self.is_reported(batch_idx):
            self.log_report(training_report(loss, logits, labels))
        return loss

    def is_reported(self, batch_idx: int) -> bool:
        """Returns whether the metrics of a training batch are logged: at every log_every_n_steps-th step, at its end.

        Args:
            batch_idx: The batch's place in its epoch, counted from 0.
        """
        return (self.global_step + 1) % self._report_every == 0 and self._steps_with(batch_idx)

    def log_report(self, report: dict[str, float]) -> None:
        """Logs the metrics of a training batch, with the learning rate, and keeps them for the means of the epoch.

        Args:
            report: train/loss (nats), train/acc1 and train/acc5 (fractions), as training_report returns them.
        """
        if self._shares is not None:
            report = self._shares.report(report, self.trainer.fit_loop.batch_idx, self.device)
        self._epoch_reports.append(report)
        self.report = report | optimizer_report(self.trainer.optimizers[0])
        self._log(self.report, self.global_step + 1)

    def on_fit_start(self) -> None:
        """Builds the loss on the device."""
        check_divisible(self.trainer.world_size, self.config)
        check_averaged(self.trainer, self.config)
        self.start = from_first(self.start)
        self.loss = build_loss(self.config, None if self._index is None else self._index.train.labels, self.device)

    def on_train_start(self) -> None:
        """Sets the steps between reports: log_every_n_steps, but at least one report an epoch, at its end."""
        wanted = int(getattr(self.trainer, "log_every_n_steps", 0))
        steps = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        self._report_every = int(min(wanted, math.ceil(steps) if math.isfinite(steps) else wanted)) or NEVER
        self._shares = shares_in(self.trainer)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Computes the gradients. Of several devices, each one's share of the batch counts by its images."""
        if self._shares is not None:
            loss = loss * self._shares.weight(self.trainer.fit_loop.batch_idx)
        super().backward(loss, *args, **kwargs)

    def on_train_epoch_start(self) -> None:
        """Forgets the reports of the previous epoch."""
        self._epoch_reports, self.report = [], {}

    def on_train_epoch_end(self) -> None:
        """Logs the means of the epoch's reports as train/*_epoch."""
        if self._epoch_reports:
            self._log(epoch_means(self._epoch_reports), self.global_step)

    def on_validation_epoch_start(self) -> None:
        """Forgets the last validation."""
        self._means = SplitMeans()

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Adds a batch to the validation metrics and returns its logits ([B, C])."""
        images, labels = batch
        logits: Tensor = self(images)
        self._means.update(logits, labels)
        return logits

    def on_validation_epoch_end(self) -> None:
        """Logs the validation metrics and makes them available to callbacks that monitor one."""
        means = joined(self._means)
        self.val_means = means.over_images()
        # Some loops report this mean, in which a smaller last batch weighs as much as the others.
        self.val_batch_means = means.over_batches()
        self.log_dict(self.val_means, logger=False)
        if not self.trainer.sanity_checking:
            self._log(self.val_means, self.global_step)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Returns the recipe's optimizer, and its schedule with the interval at which it steps."""
        optimizer = build_optimizer(parameter_groups(self, self.config, prefix=NET_PREFIX), self.config)
        schedule = build_schedule(optimizer, self.config, self.trainer.estimated_stepping_batches)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule.scheduler, "interval": schedule.interval},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the recipe, so that the checkpoint alone suffices to use the weights, and the epoch's reports.

        Raises:
            UserError: If a callback has taken the weights out of the checkpoint.
        """
        if missing := self._weight_names - checkpoint["state_dict"].keys():
            raise UserError(
                f"a callback (trainer.callbacks) has removed {len(missing)} of the net's weights from the checkpoint, "
                f"such as {min(missing)}: nobody could use it; leave that callback out"
            )
        if self.trained is not None:
            checkpoint[RECIPE_KEY] = self.trained.as_dict() | self.start.as_recipe()
        checkpoint[REPORTS_KEY] = self._epoch_reports

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Builds the net of a checkpoint. If there is a net already, checks that its classes are the checkpoint's.

        Raises:
            UserError: If they differ.
        """
        self._epoch_reports = list(checkpoint.get(REPORTS_KEY, []))
        if RECIPE_KEY not in checkpoint:
            return
        saved = recipe_of(checkpoint)
        self.start = resumed_start(saved)
        if self.net is None:
            self._build(saved.model["num_classes"])
            self.trained = saved
        elif self.trained is not None:
            check_same_classes(saved, self.trained.classes)

    def _build(self, num_classes: int) -> None:
        self.config = replace(self.config, num_classes=num_classes)
        self.net = build_net(
            self.config.arch,
            num_classes,
            seed=self.seed,
            channels_last=self.config.channels_last,
            compile=self.config.compile,
        )
        self._weight_names = frozenset(f"{NET_PREFIX}{name}" for name in self.net.state_dict())

    def _steps_with(self, batch_idx: int) -> bool:
        """Returns whether the optimizer steps after this batch. With gradient accumulation it does not always."""
        return (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0 or self.trainer.is_last_batch

    def _log(self, values: dict[str, float], step: int) -> None:
        # Not self.log: it takes time at every step, even at those where nothing is logged.
        for logger in self.loggers:
            logger.log_metrics({**values, "epoch": self.current_epoch}, step)
