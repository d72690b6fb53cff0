"""A profiler of Lightning that says what share of a step is yours, PyTorch's, the data's and Lightning's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from woof_lightning.profile.buckets import CALLBACK, DATA, HOOK, TRAINER, VALIDATION, bucket_of
from woof_lightning.profile.record import Profile, profile_of, write_trace
from woof_lightning.profile.report import markdown, table
from woof_lightning.profile.seams import Seams, lightning_module_of
from woof_lightning.profile.spans import Bucket, Part, Spans, TracedSpans

EPOCH = "run_training_epoch"
PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def profiler_classes() -> list[Any]:
    """Returns the classes Profiler of the Lightnings that are loaded, or of the one that is installed."""
    loaded = [package for package in PACKAGES if package in sys.modules]
    installed = [package for package in PACKAGES if find_spec(package.partition(".")[0]) is not None]
    return [import_module(f"{package}.profilers").Profiler for package in loaded or installed[:1]]


class OverheadProfiler(profiler_classes()[0]):  # type: ignore[misc]
    """Splits each training step into parts that sum to its wall time, and says whose they are.

    Pass it to a Trainer: `Trainer(profiler=OverheadProfiler())`. At the end of `fit` it prints a table, and writes
    `profile.json` if it has a folder.

    Args:
        dirpath: A folder for its files; the Trainer's log_dir if None.
        filename: The stem of its files.
        first_steps: The number of first steps that are kept apart.
        trace: Whether to write a trace for Chrome's viewer, too.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from woof_lightning import ImagewoofDataModule, OverheadProfiler, WoofClassifier
        >>> data = ImagewoofDataModule(variant="synthetic", image_size=32, batch_size=48, num_workers=0)
        >>> profiler = OverheadProfiler("profiled")
        >>> trainer = Trainer(
        ...     max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        ...     enable_model_summary=False, profiler=profiler,
        ... )
        >>> trainer.fit(WoofClassifier(arch="shufflenet_v2_x0_5"), datamodule=data)  # doctest: +ELLIPSIS
        WoofClassifier: ...
        >>> {share.owner for share in profiler.profile_of_fit.shares} >= {"yours", "PyTorch", "data", "Lightning"}
        True
    """

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str = "profile",
        *,
        first_steps: int = 10,
        trace: bool = False,
    ) -> None:
        super().__init__(dirpath=dirpath, filename=filename)
        self.first_steps, self.trace = first_steps, trace
        self.profile_of_fit: Profile | None = None
        self.between_steps: Callable[[Any, Spans, Sequence[Part]], None] | None = None
        self._spans = Spans(TRAINER)
        self._seams: Seams | None = None
        self.steps: list[Part] = []
        self._in_steps = False
        self._bars: frozenset[str] = frozenset()
        self._buckets: dict[str, Bucket] = {}

    @property
    def _trainer(self) -> Any:
        return self._lightning_module.trainer

    def start(self, action_name: str) -> None:
        """Opens the span of an action."""
        if self._seams is None:
            if action_name != EPOCH:
                return
            self._begin()
        bucket = self._buckets.get(action_name)
        if bucket is None:
            bucket = self._spans.bucket(bucket_of(action_name, self._bars))
            self._buckets[action_name] = bucket
        if bucket.name == DATA:
            self._step_ended()
        self._spans.push(bucket)

    def stop(self, action_name: str) -> None:
        """Closes the span of an action."""
        if action_name in self._buckets and self._seams is not None:
            self._spans.pop(self._buckets[action_name])

    def _begin(self) -> None:
        trainer = self._trainer
        self._buckets, self.steps, self._in_steps = {}, [], False
        self._bars = frozenset(
            callback.state_key
            for callback in trainer.callbacks
            if any(one.__name__ == "ProgressBar" for one in type(callback).__mro__)
        )
        self._spans = (TracedSpans if self.trace else Spans)(TRAINER, VALIDATION)
        self._seams = Seams(self._spans, trainer, at_the_end=self.describe)

    def _step_ended(self) -> None:
        part = self._spans.cut()
        if not self._in_steps:  # What came before the first step.
            self._in_steps = True
            return
        self.steps.append(part)
        if self.between_steps is not None:
            self.between_steps(self._trainer, self._spans, self.steps)
            self._spans.cut()  # What was done in between belongs to no step.

    def describe(self) -> None:
        """Ends the measurement, prints a table and writes the files. Lightning calls it at the end of `fit`."""
        if self._seams is None:
            return
        trainer = self._trainer
        self.steps.append(self._spans.cut())
        self._seams.undo()
        self._seams = None
        self.profile_of_fit = profile_of(self.steps, self.first_steps, about(trainer), own_parts(trainer))
        if self.profile_of_fit is None or not trainer.is_global_zero:
            return
        print(table(self.profile_of_fit))
        folder = Path(self.dirpath or trainer.log_dir or trainer.default_root_dir)
        self.write(folder)
        if isinstance(self._spans, TracedSpans):
            write_trace(self._spans.events, folder / f"{self.filename}.trace.json")
        print(f"profile: {folder / self.filename}.json, .md, .png")

    def write(self, folder: Path) -> None:
        """Writes the profile of the last `fit`: JSON, Markdown for an issue, and a figure.

        Args:
            folder: The folder; it is made.
        """
        assert self.profile_of_fit is not None, "describe() makes it"
        folder.mkdir(parents=True, exist_ok=True)
        self.profile_of_fit.write(folder / f"{self.filename}.json")
        (folder / f"{self.filename}.md").write_text(markdown(self.profile_of_fit))
        from woof_lightning.profile.draw import figure  # Matplotlib takes a while to import.

        figure(self.profile_of_fit).savefig(folder / f"{self.filename}.png", dpi=110)


# Lightning has two packages with the same classes. A profiler of one works in a Trainer of the other.
for _other in profiler_classes()[1:]:
    _other.register(OverheadProfiler)


def about(trainer: Any) -> dict[str, Any]:
    """Returns what a profile is of: module, device, precision, versions."""
    lightning = lightning_module_of(type(trainer.lightning_module)).__module__.partition(".")[0]
    return {
        "module": type(trainer.lightning_module).__name__,
        "device": trainer.strategy.root_device,
        "precision": trainer.precision,
        "processes": trainer.world_size,
        "lightning": import_module(lightning).__version__,
        "torch": import_module("torch").__version__,
    }


def own_parts(trainer: Any) -> frozenset[str]:
    """Returns the names of parts that are the user's: callbacks from elsewhere, and hooks that the module overrides."""
    module = type(trainer.lightning_module)
    base = lightning_module_of(module)
    names = {name for one in base.__mro__ for name in vars(one)}
    hooks = {f"{HOOK}{name}" for name in names if getattr(module, name, None) is not getattr(base, name, None)}
    packages = ("lightning", "pytorch_lightning")
    own = [type(one) for one in trainer.callbacks if type(one).__module__.partition(".")[0] not in packages]
    return frozenset({*hooks, *(f"{CALLBACK}{one.__name__}" for one in own)})
