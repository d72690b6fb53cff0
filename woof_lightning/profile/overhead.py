"""A profiler of Lightning that says what share of a step is yours, PyTorch's, the data's and Lightning's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from woof_lightning.profile.advice import Piece, Seen
from woof_lightning.profile.buckets import CALLBACK, DATA, HOOK, NEXT_BATCH, TRAINER, VALIDATION, bucket_of
from woof_lightning.profile.device import WATCHED, WINDOW_STEPS, DeviceUse, Window
from woof_lightning.profile.finders import pieces
from woof_lightning.profile.hooks import PACKAGES, idle_hooks, installed, lightning_module_of
from woof_lightning.profile.record import Advice, Profile, left_out, profile_of, write_trace
from woof_lightning.profile.report import markdown, report
from woof_lightning.profile.seams import HEARD_FROM, HEARD_STEPS, Seams, before, replaced
from woof_lightning.profile.spans import Bucket, Part, Spans, TracedSpans

EPOCH = "run_training_epoch"


@dataclass(eq=False, slots=True)
class Action:
    """An action that Lightning names to its profiler.

    Args:
        bucket: Where its time goes.
        calls: How often it was named.
    """

    bucket: Bucket
    calls: int = 0


class Continuation(Protocol):
    """What is done with the training after so many steps were profiled."""

    def begin(self, trainer: Any, pieces: Sequence[Piece], step_us: float) -> None:
        """Begins, between two steps."""

    def before_batch(self) -> None:
        """The Trainer asks for a batch."""

    def after_batch(self) -> None:
        """The Trainer has its batch."""

    def end(self) -> None:
        """The training has ended."""

    def comparison(self) -> dict[str, dict[str, float]] | None:
        """Returns the comparison with a bare loop, if there is one."""

    def proven(self, advice: Sequence[Advice]) -> list[Advice]:
        """Returns advice with what it has saved."""


def profiler_classes() -> list[Any]:
    """Returns the classes Profiler of the Lightnings that are loaded, or of the one that is installed."""
    loaded = [package for package in PACKAGES if package in sys.modules]
    return [import_module(f"{package}.profilers").Profiler for package in loaded or installed()[:1]]


class OverheadProfiler(profiler_classes()[0]):  # type: ignore[misc]
    """Splits each training step into parts that sum to its wall time, and says which parts are yours.

    Pass it to a Trainer: `Trainer(profiler=OverheadProfiler())`. At the end of `fit` it prints a table, and writes
    `profile.json` if it has a folder.

    Args:
        dirpath: A folder for its files; the Trainer's log_dir if None.
        filename: The stem of its files.
        first_steps: The number of first steps that are reported separately.
        trace: Whether to write a trace for Chrome's viewer, too.

    Examples:
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
        self.steps: list[Part] = []
        self._spans = Spans(TRAINER)
        self._seams: Seams | None = None
        self._in_steps = False
        self._actions: dict[str, Action] = {}
        self._bars = self._idle = frozenset[str]()
        self._steps_wanted: int | None = None
        self._then: Continuation | None = None
        self._has_begun = False
        self._window: Window | None = None
        self._busy_us: float | None = None
        self._left_out = first_steps

    def continue_with(self, then: Continuation, steps: int) -> None:
        """Profiles so many steps only, and hands the training over then.

        Args:
            then: What to hand it to.
            steps: The number of steps.
        """
        self._then, self._steps_wanted = then, steps

    @property
    def _trainer(self) -> Any:
        return self._lightning_module.trainer

    def start(self, action_name: str) -> None:
        """Opens the span of an action."""
        if self._seams is None:
            if self._has_begun:
                if self._then is not None and action_name.endswith(NEXT_BATCH):
                    self._then.before_batch()
                return
            if action_name != EPOCH:
                return
            self._begin()
        action = self._actions.get(action_name) or self._action(action_name)
        action.calls += 1
        if action.bucket.name == DATA:
            self._step_ended()
        self._spans.push(action.bucket)

    def stop(self, action_name: str) -> None:
        """Closes the span of an action."""
        if self._seams is not None:
            if action_name in self._actions:
                self._spans.pop(self._actions[action_name].bucket)
        elif self._then is not None and self._has_begun and action_name.endswith(NEXT_BATCH):
            self._then.after_batch()

    def _action(self, name: str) -> Action:
        action = Action(self._spans.bucket(bucket_of(name, self._bars, self._idle)))
        self._actions[name] = action
        return action

    def _begin(self) -> None:
        trainer = self._trainer
        self._has_begun = True
        self._actions, self.steps, self._in_steps, self.profile_of_fit = {}, [], False, None
        self._bars = frozenset(
            callback.state_key
            for callback in trainer.callbacks
            if any(one.__name__ == "ProgressBar" for one in type(callback).__mro__)
        )
        self._idle = frozenset(action for action, _, _ in idle_hooks(trainer))
        self._spans = (TracedSpans if self.trace else Spans)(TRAINER, VALIDATION)
        self._seams = Seams(self._spans, trainer)
        device = trainer.strategy.root_device
        self._window, self._busy_us = (Window(device) if device.type in WATCHED else None), None
        self._left_out = self.first_steps + (WINDOW_STEPS if self._window is not None else 0)
        self._undo_end = replaced(trainer, "_teardown", before(trainer._teardown, self.describe))
        self._undo_end.__enter__()

    def _step_ended(self) -> None:
        part = self._spans.cut()
        if not self._in_steps:  # What came before the first step.
            self._in_steps = True
            return
        if self._seams is not None and self.first_steps > HEARD_FROM + HEARD_STEPS:
            self._seams.hear(len(self.steps) + 1)
        self.steps.append(part)
        if self._window is not None:
            self._watch(self._window)
        if len(self.steps) == self._steps_wanted:
            found = self._profiled()
            if self._then is not None and self.profile_of_fit is not None:
                least_us, step_us = self.profile_of_fit.least_us, self.profile_of_fit.step_us["median"]
                self._then.begin(self._trainer, [one for one in found if one.advice.predicted_us > least_us], step_us)

    def _watch(self, window: Window) -> None:
        """Watches the device in the last of the steps that are left out."""
        if len(self.steps) == self.first_steps:
            window.open()
        elif len(self.steps) == self._left_out:
            self._busy_us = window.close() / WINDOW_STEPS
            self._spans.cut()  # Closing takes a while, and is no part of the next step.

    def _device_use(self, seams: Seams) -> DeviceUse | None:
        if self._busy_us is None:
            return None
        waits = tuple((site.place, site.calls / HEARD_STEPS) for site in seams.waits.all())
        return DeviceUse(WINDOW_STEPS, self._busy_us, waits)

    def _profiled(self) -> list[Piece]:
        """Ends the measurement, makes the profile, and returns what there is to change."""
        seams, trainer = self._seams, self._trainer
        assert seams is not None, "a fit is being profiled"
        seams.undo()
        self._seams = None
        if self._window is not None and self._window.is_open:  # The training has ended in its midst.
            self._window.close()
        if not self.steps:
            return []
        counted = self.steps[left_out(self.steps, self._left_out) :]
        calls = {name: action.calls for name, action in self._actions.items()}
        seen = Seen(trainer, counted, len(self.steps), seams, calls)
        profile = profile_of(self.steps, self._left_out, about(trainer), own_parts(trainer))
        use = self._device_use(seams)
        found = pieces(seen)
        if use is not None:  # What the host saves while the device computes, nobody has back.
            found = [piece.at_most(use.idle_us(profile.step_us["median"])) for piece in found]
        advice = tuple(piece.advice for piece in found)
        self.profile_of_fit = replace(profile, advice=advice, noise_us=seen.noise_us, device=use)
        return found

    def describe(self) -> None:
        """Ends the measurement, prints a table and writes the files. Lightning calls it at the end of `fit`."""
        if not self._has_begun:
            return
        trainer = self._trainer
        self._has_begun = False
        if self._seams is not None:
            self.steps.append(self._spans.cut())
            self._profiled()
        self._undo_end.__exit__(None, None, None)
        if self._then is not None:
            self._then.end()
        if self.profile_of_fit is None or not trainer.is_global_zero:
            return
        if self._then is not None:
            self.profile_of_fit = replace(
                self.profile_of_fit,
                bare=self._then.comparison(),
                advice=tuple(self._then.proven(self.profile_of_fit.advice)),
            )
        print(report(self.profile_of_fit))
        folder = Path(self.dirpath or trainer.log_dir or trainer.default_root_dir)
        self._write(self.profile_of_fit, folder)
        print(f"profile: {folder / self.filename}.json, .md, .png")

    def _write(self, profile: Profile, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        profile.write(folder / f"{self.filename}.json")
        (folder / f"{self.filename}.md").write_text(markdown(profile), encoding="utf-8")
        from woof_lightning.profile.draw import figure  # Matplotlib takes a while to import.

        figure(profile).savefig(folder / f"{self.filename}.png", dpi=110)
        if isinstance(self._spans, TracedSpans):
            write_trace(self._spans.events, folder / f"{self.filename}.trace.json")


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
    packages = {package.partition(".")[0] for package in PACKAGES}
    own = [type(one) for one in trainer.callbacks if type(one).__module__.partition(".")[0] not in packages]
    return frozenset({*hooks, *(f"{CALLBACK}{one.__name__}" for one in own)})
