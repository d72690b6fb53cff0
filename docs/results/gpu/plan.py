"""What is run on a GPU machine, in the order of worth: each step with its command, and what it leaves."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

CHECKS, POST, COST = "checks", "post", "cost"
WOOF = (sys.executable, "-m", "woof_lightning")
HERE = (sys.executable, "-m")
LOOPS = ("bare", "hand_rolled", "fabric", "accelerate", "ignite", "fastai", "lightning")
# The main experiment first.
EXPERIMENTS = ("adamw_onecycle", "sgd_step", "sgd_onecycle", "sgd_step_found_lr")
# The last and the first of the post, as in docs/results/imagewoof-128-fp32.
FP32_EXPERIMENTS = ("adamw_onecycle", "sgd_step")
BF16, FP32 = "bf16-mixed", "32-true"
TRUE_FP32 = "true fp32: cudnn.allow_tf32 False, matmul precision highest"
CACHE, ON_DEVICE = "cache", "on_device"
# Augmentation on the device is used if it is so many times as fast: only its random numbers differ from a user's run.
WORTH_IT = 1.2
LOADING_EPOCHS = 3


@dataclass(frozen=True)
class Place:
    """Where a plan runs, and how large it is.

    Args:
        work: The folder for everything that is made.
        images: The folder of the real images.
        trial: Whether the CPU stands in for the GPU, with drawn images and the smallest sizes.
        seeds: The seeds of the experiments.
        epochs: Epochs of an experiment.
        workers: Loading processes.
        loading: cache or on_device; None takes the faster one, as measured.
    """

    work: Path
    images: Path
    trial: bool = False
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 40
    workers: int = 14
    loading: str | None = None

    @property
    def accelerator(self) -> str:
        """The value of trainer.accelerator."""
        return "cpu" if self.trial else "cuda"


@dataclass(frozen=True)
class Step:
    """A process to run.

    Args:
        name: Its name in the rows.
        part: CHECKS, POST or COST.
        command: What to run.
        least_s: It is not begun if less time is left.
        most_s: It is ended after this time, and counts as failed.
        kept: Files and folders below the work folder that are brought back, as far as they are records.
        after: The steps that must have succeeded before.
        beside: Neighbours of the same name here run at once.
        needs_images: Whether it reads the real images.
        note: What a reader of its row must know.
    """

    name: str
    part: str
    command: tuple[str, ...]
    least_s: float = 20
    most_s: float = 150
    kept: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    beside: str = ""
    needs_images: bool = False
    note: str = ""


def plan(place: Place) -> list[Step]:
    """Returns all steps in their order."""
    return [*checks(place), *post(place), *cost(place)]


def checks(place: Place) -> list[Step]:
    """Returns what says whether everything runs on the device, on drawn images, and whether the ways agree there."""
    runs = place.work / "checks"
    conditions = (*HERE, "docs.results.gpu.conditions", str(place.work), place.accelerator)
    draw = (*WOOF, "data", "--variant", "synthetic", "--root", str(place.work / "data"))
    interrupted = _small(place, "fit", "cut", epochs=2 if place.trial else 20)
    loops = {name: _small(place, f"loop {name}", f"loop-{name}", FP32 if name == "fastai" else None) for name in LOOPS}
    first = [
        Step("fit", CHECKS, _small(place, "fit", "fit"), kept=("checks/fit",)),
        Step("lr-find", CHECKS, _small(place, "lr-find", "sweep"), kept=("checks/sweep",)),
        *(Step(f"loop-{name}", CHECKS, loops[name], kept=(f"checks/loop-{name}",)) for name in LOOPS),
        # It ends with the epoch in which a second is over.
        Step("cut", CHECKS, (*interrupted, "--trainer.max_time", "00:00:00:01")),
    ]
    validate: tuple[str, ...] = (*WOOF, "validate", "--ckpt", str(runs / "fit"), "--accelerator", place.accelerator)
    validate += ("--out", str(runs / "validate"))
    predict: tuple[str, ...] = (
        *WOOF,
        "predict",
        "--ckpt",
        str(runs / "fit"),
        str(place.work / "data" / "synthetic" / "val"),
    )
    predict += ("--out", str(runs / "answers.csv"), "--overwrite")
    second = [
        Step("resume", CHECKS, interrupted, kept=("checks/cut",), after=("cut",)),
        Step("validate", CHECKS, validate, kept=("checks/validate",), after=("fit",)),
        Step("predict", CHECKS, predict, kept=("checks/answers.csv",), after=("fit",)),
    ]
    return [
        Step("conditions", CHECKS, conditions, kept=("conditions.json",)),
        Step("draw", CHECKS, draw),
        *(replace(step, after=("draw",), beside="first") for step in first),
        *(replace(step, beside="second") for step in second),
        *parities(place),
    ]


def parities(place: Place) -> list[Step]:
    """Returns the comparisons of all ways with the bare loop, to the bit."""
    cases = {
        "parity-fp32": ("--precision", FP32),
        "parity-resumed": ("--precision", FP32, "--resumed"),
        "parity-bf16": ("--precision", BF16),
        "parity-fp32-any-algorithm": ("--precision", FP32, "--any_algorithm"),
    }
    if place.trial:
        cases = {"parity-fp32": ("--precision", FP32, "--ways", "bare", "woof_fit")}
    small = ("--image_size", "32", "--arch", "shufflenet_v2_x0_5") if place.trial else ()
    return [
        Step(
            name,
            CHECKS,
            (
                *(*HERE, "docs.results.gpu.parity", str(place.work / f"{name}.csv"), *options, *small),
                *("--accelerator", place.accelerator, "--data_root", str(place.work / "data")),
            ),
            least_s=30,
            most_s=240,
            kept=(f"{name}.csv",),
            after=("draw",),
            beside="parity",
        )
        for name, options in cases.items()
    ]


def post(place: Place) -> list[Step]:
    """Returns the experiments of the blog post in its own setting, and before them the choice of how to load images."""
    few = replace(place, epochs=1 if place.trial else LOADING_EPOCHS)
    loading = [
        Step(
            f"loading-{way}",
            POST,
            (*experiment(few, "adamw_onecycle", 0, way), *_named(few, f"loading-{way}"), *_one_validation_batch()),
            least_s=40,
            kept=(f"runs/loading-{way}",),
            needs_images=True,
            note="images_per_s in its result.json is the speed of this way to load",
        )
        for way in (CACHE, ON_DEVICE)
    ]
    seeds = [[_experiment_step(place, name, seed) for name in EXPERIMENTS] for seed in place.seeds]
    exact = [_experiment_step(place, name, place.seeds[0], exact=True) for name in FP32_EXPERIMENTS]
    return [*loading, *seeds[0], _sweep_step(place), *(step for some in seeds[1:] for step in some), *exact]


def _experiment_step(place: Place, name: str, seed: int, *, exact: bool = False) -> Step:
    run = f"{name}-{'fp32' if exact else 'bf16'}-seed{seed}"
    command = (*experiment(place, name, seed, chosen_loading(place)), *_named(place, run))
    precision = TRUE_FP32 if exact else FP32 if place.trial else BF16
    notes = ["channels_last", f"loading: {chosen_loading(place)}", precision]
    if exact:
        command = (*_exactly(place, run), *command[len(WOOF) :], "--trainer.precision", FP32)
    return Step(
        run,
        POST,
        command,
        least_s=40,
        most_s=500,
        kept=(f"runs/{run}",),
        needs_images=True,
        note="; ".join(notes),
    )


def _sweep_step(place: Place) -> Step:
    """Returns the sweep of the learning rate as in the post: AdamW, a head of 1,000 outputs, 50 steps, fp32."""
    run = "lr-find-head1000"
    settings = [*_settings(place, "adamw_onecycle"), *_images(place, CACHE), "--trainer.precision", FP32]
    settings += ["--model.num_classes", "1000", "--num_training", "50", "--min_lr", "1e-8", "--max_lr", "10"]
    settings += ["--runs_dir", str(place.work / "runs"), "--name", run, "--overwrite"]
    return Step(
        run,
        POST,
        (*_exactly(place, run), "lr-find", *settings),
        kept=(f"runs/{run}",),
        needs_images=True,
        note=f"{TRUE_FP32}; its seconds are those of the whole command",
    )


def cost(place: Place) -> list[Step]:
    """Returns the measurements: what a step costs, way by way, and whether the device idles in it."""
    measure = (*WOOF, "cost", "--accelerator", "cuda", *(("--dry_run",) if place.trial else ()), "--allow_busy")
    measure += ("--out", str(place.work / "cost"), "--resume")
    # A block that is cut is lost, so each is a step of its own; --resume adds it to those that are there.
    blocks = [
        [
            Step(
                f"cost-{group}-{number}",
                COST,
                (*measure, "--groups", group, "--repeats", str(number)),
                # 16 processes share a core until they end.
                least_s=120,
                most_s=900 if place.trial else 300,
                kept=("cost",),
            )
            for group in (("fixed",) if place.trial else ("fixed", "real"))
        ]
        for number in ((1,) if place.trial else (1, 2, 3))
    ]
    profiles = [
        Step(
            f"profile-{name}",
            COST,
            (
                *(*WOOF, "profile", f"docs.results.gpu.profiled:{name}", "--overwrite"),
                *("--out", str(place.work / f"profile-{name}"), "--steps", "20" if place.trial else "200"),
            ),
            least_s=45,
            most_s=200,
            kept=(f"profile-{name}",),
        )
        for name in ("small", "resnet18")
    ]
    run = "profile-woof_fit"
    few = replace(place, epochs=1 if place.trial else LOADING_EPOCHS)
    whole = (*experiment(few, "adamw_onecycle", 0, chosen_loading(place)), *_named(few, run))
    profiled = Step(
        run,
        COST,
        (*whole, *_one_validation_batch(), "--trainer.profiler", "overhead"),
        least_s=40,
        kept=(f"runs/{run}",),
        needs_images=True,
    )
    return [*blocks[0], *profiles, profiled, *(step for some in blocks[1:] for step in some)]


def experiment(place: Place, name: str, seed: int, loading: str) -> tuple[str, ...]:
    """Returns the command of an experiment in the post's setting, on one GPU in bf16.

    Args:
        place: Where it runs.
        name: The name of its config.
        seed: Its seed.
        loading: CACHE or ON_DEVICE.
    """
    length = ("--trainer.max_epochs", str(place.epochs), "--seed_everything", str(seed))
    return (*WOOF, "fit", *_settings(place, name), *_images(place, loading), *length)


def chosen_loading(place: Place) -> str:
    """Returns how the experiments load their images: what was asked for, or the faster way if both were measured."""
    if place.loading is not None:
        return place.loading
    speeds = [_images_per_s(place.work / "runs" / f"loading-{way}" / "result.json") for way in (ON_DEVICE, CACHE)]
    return ON_DEVICE if speeds[0] > WORTH_IT * speeds[1] else CACHE


def _images_per_s(result: Path) -> float:
    try:
        return float(json.loads(result.read_text(encoding="utf-8"))["images_per_s"] or 0)
    except (OSError, ValueError, KeyError):
        return 0.0


def _settings(place: Place, name: str) -> tuple[str, ...]:
    """Returns the configs of an experiment on a GPU; in a trial with the smallest sizes on the CPU."""
    settings: tuple[str, ...] = ("--config", f"configs/{name}.yaml", "--config", "configs/gpu.yaml")
    settings += ("--trainer.accelerator", place.accelerator, "--data.num_workers", str(place.workers))
    if place.trial:
        # In fp32: a processor without bf16 takes minutes for it.
        settings += ("--trainer.precision", FP32, "--data.image_size", "32", "--data.batch_size", "32")
        settings += ("--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1")
        settings += ("--model.arch", "shufflenet_v2_x0_5", "--data.pin_memory", "false")
    return settings


def _images(place: Place, loading: str) -> tuple[str, ...]:
    return ("--data.folder", str(place.images), "--data.cache", "disk", f"--data.on_device={loading == ON_DEVICE}")


def _named(place: Place, name: str) -> tuple[str, ...]:
    return ("--runs_dir", str(place.work / "runs"), "--name", name, "--resume")


def _one_validation_batch() -> tuple[str, ...]:
    return ("--trainer.limit_val_batches", "1")


def _exactly(place: Place, run: str) -> tuple[str, ...]:
    return (*HERE, "docs.results.gpu.true_fp32", str(place.work / "runs" / run / "flags.json"))


def _small(place: Place, verb: str, name: str, precision: str | None = None, epochs: int = 2) -> tuple[str, ...]:
    """Returns the command of a short training on drawn images.

    Args:
        place: Where it runs.
        verb: The verb, with the loop's name.
        name: The run's name.
        precision: The precision; None for that of configs/gpu.yaml.
        epochs: The number of epochs.
    """
    data = ("--data.root", str(place.work / "data"), "--data.variant", "synthetic")
    size = () if place.trial else ("--data.image_size", "64", "--data.batch_size", "32")
    settings = (*_settings(replace(place, workers=min(place.workers, 2)), "adamw_onecycle"), *data, *size)
    again = "--overwrite" if verb == "lr-find" else "--resume"
    return (
        *(*WOOF, *verb.split(), *settings, *(("--trainer.precision", precision) if precision else ())),
        *("--trainer.max_epochs", str(epochs), "--runs_dir", str(place.work / "checks"), "--name", name, again),
    )
