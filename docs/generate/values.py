"""Single numbers of the pages' prose, each computed from committed files.

A value's name is a function of this file and its arguments, with colons between: `over:step_us:woof_fit:on`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

from docs.generate.change_tables import CHANGE_VALUES
from docs.generate.cost_summary import Estimate, read_summary
from docs.generate.cost_tables import FULL_TRAINING_STEPS
from docs.generate.finetune_tables import FINETUNE_VALUES
from docs.generate.front import cheap_from_ms_text
from docs.generate.post_tables import POST_TOP1, validations
from docs.generate.profile_tables import PROFILE_VALUES
from docs.generate.result_tables import read_rows
from docs.generate.scaling_tables import SCALING_VALUES
from docs.generate.speed_tables import share_text
from woof_lightning.compare.read import TOP1, TOP5
from woof_lightning.compare.tables import three_digits
from woof_lightning.runs.metrics import read_metrics

Pick = Callable[[Iterable[float]], float]
# Measures that are another one in another unit: its name and the factor.
SCALED = {"step_ms": ("step_us", 1e-3), "training_s": ("step_us", FULL_TRAINING_STEPS / 1e6)}


def value_text(folder: Path, name: str) -> str:
    """The text of a value.

    Args:
        folder: Holds the files that it is computed from.
        name: FUNCTION:ARGUMENT:…

    Raises:
        LookupError: If there is no such function, or the files do not have what it asks for.
        TypeError: If the function takes other arguments.
    """
    function, *arguments = name.split(":")
    return VALUES[function](folder, *arguments)


# What `woof cost` measured. In a condition `-` is a space: resnet18-128-px. It may be left out where there is one only.


def estimate(folder: Path, measure: str, way: str, condition: str = "") -> Estimate:
    """The estimate of a way's measure, and its difference from the bare loop under `over`."""
    source, factor = SCALED.get(measure, (measure, 1.0))
    wanted = (source, way, condition.replace("-", " "))
    found = [e for e in read_summary(folder)["estimates"] if wanted in _keys(e)]
    if len(found) != 1:
        raise LookupError(f"{len(found)} estimates, expected 1")
    return _times(found[0], factor) | {"over": found[0]["over"] and _times(found[0]["over"], factor)}


def median_text(folder: Path, measure: str, way: str, condition: str = "") -> str:
    """The median itself."""
    return three_digits(estimate(folder, measure, way, condition)["median"])


def count_text(folder: Path, measure: str, way: str) -> str:
    """The median of a count, as the tables have it."""
    return f"{estimate(folder, measure, way)['median']:.0f}"


def over_text(folder: Path, measure: str, way: str, condition: str = "", *, part: str = "median") -> str:
    """The difference from the bare loop: its median, or an end of its interval."""
    return three_digits(_over(folder, measure, way, condition)[part])


def over_percent_text(folder: Path, measure: str, way: str, condition: str = "", *, part: str = "median") -> str:
    """The difference from the bare loop in percent of the bare loop."""
    return three_digits(100 * _over(folder, measure, way, condition)["share"][part])


def more_text(folder: Path, measure: str, way: str, other: str, condition: str) -> str:
    """How much more a way costs than another, each over the bare loop."""
    ours, theirs = (_over(folder, measure, name, condition)["median"] for name in (way, other))
    return three_digits(ours - theirs)


def share_of_step_text(folder: Path, way: str, condition: str, real_condition: str) -> str:
    """A way's fixed cost in percent of the bare loop's step on a real net."""
    fixed = _over(folder, "step_us", way, condition)["median"]
    return f"{100 * fixed / estimate(folder, 'step_us', 'bare', real_condition)['median']:.2g}"


def times_text(folder: Path, way: str, condition: str) -> str:
    """How many times what a way adds on the smallest net it adds on a real net."""
    real, smallest = (_over(folder, "step_us", way, name)["median"] for name in (condition, "on"))
    return three_digits(real / smallest)


def process_ms_text(folder: Path, way: str, condition: str, *, pick: Pick) -> str:
    """The step time of the fastest or slowest of a case's processes, ms."""
    wanted = (way, "step_us", condition.replace("-", " "))
    rows = read_rows(folder / "rows.csv")
    found = [float(row["value"]) for row in rows if (row["way"], row["measure"], row["condition"]) == wanted]
    if not found:
        raise LookupError("no such processes")
    return three_digits(pick(found) / 1e3)


def training_text(folder: Path, way: str, part: str = "all") -> str:
    """What the post's training costs over the bare loop, s: all of it, or a part."""
    (found,) = [one for one in read_summary(folder)["trainings"] if one["way"] == way]
    return f"{found['parts'][part]['median']:.2g}"


def feature_text(folder: Path, side: str, feature: str) -> str:
    """What a feature of the waterfall adds to a step, µs."""
    return over_text(folder, "step_us", f"{side}:{feature}", "waterfall")


def _keys(found: Estimate) -> Iterator[tuple[str, str, str]]:
    yield from ((found["measure"], found["way"], condition) for condition in (found["condition"], ""))


def _times(found: Estimate, factor: float) -> Estimate:
    return found | {name: factor * found[name] for name in ("median", "low", "high")}


def _over(folder: Path, measure: str, way: str, condition: str) -> Estimate:
    over: Estimate | None = estimate(folder, measure, way, condition)["over"]
    if over is None:
        raise LookupError("compared with nothing")
    return over


# What a run left; RUN is its folder. Epochs count from 1, as in the tables. Points are hundredths of a top-1.


def top1_text(folder: Path, run: str) -> str:
    """The best top-1 of a run."""
    return f"{_best(folder / run, TOP1):.3f}"


def top5_text(folder: Path, run: str) -> str:
    """The top-5 of the epoch with the best top-1."""
    return f"{_best(folder / run, TOP5):.3f}"


def gain_text(folder: Path, run: str, other: str) -> str:
    """What a run gains over another in best top-1, points."""
    return _points(_best(folder / run, TOP1) - _best(folder / other, TOP1))


def post_gain_text(_: Path, run: str, other: str) -> str:
    """What an experiment gains over another in the post, points."""
    return _points(POST_TOP1[run] - POST_TOP1[other])


def below_post_text(folder: Path, run: str) -> str:
    """How far a run's best top-1 lies below the post's, points."""
    return f"{100 * (POST_TOP1[run] - _best(folder / run, TOP1)):.1f}"


def at_text(folder: Path, run: str, epoch: str, metric: str) -> str:
    """A metric at the end of an epoch."""
    return f"{_at(folder / run, epoch, metric):.3f}"


def rise_text(folder: Path, run: str, first: str, last: str) -> str:
    """How far top-1 rises from one epoch to another, points; the second may be `best`."""
    end = _best(folder / run, TOP1) if last == "best" else _at(folder / run, last, TOP1)
    return f"{100 * (end - _at(folder / run, first, TOP1)):.1f}"


def mean_text(folder: Path, run: str, column: str) -> str:
    """The mean of a column of metrics.csv."""
    return three_digits(fmean(row[column] for row in read_metrics(folder / run / "metrics.csv") if column in row))


def lowest_text(folder: Path, run: str, metric: str) -> str:
    """The epoch in which a metric is at its lowest."""
    epochs = validations(folder / run)
    return str(1 + min(epochs, key=lambda epoch: epochs[epoch][metric]))


def spread_text(folder: Path, runs: str) -> str:
    """How far the best top-1 of the runs in a folder lie apart, points."""
    best = [_best(file.parent, TOP1) for file in sorted((folder / runs).glob("*/result.json"))]
    return f"{100 * (max(best) - min(best)):.1f}"


def standard_error_text(folder: Path, run: str) -> str:
    """The standard error of a run's best top-1 by the number of validated images, points."""
    top1, images = _best(folder / run, TOP1), _result(folder / run)["data"]["val"]
    return f"{100 * math.sqrt(top1 * (1 - top1) / images):.1f}"


def train_s_text(folder: Path, run: str) -> str:
    """The time that a run took to train, s."""
    return f"{_result(folder / run)['train_s']:.0f}"


def _result(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    return found


def _best(run: Path, metric: str) -> float:
    return float(_result(run)["best"][metric])


def _at(run: Path, epoch: str, metric: str) -> float:
    return validations(run)[int(epoch) - 1][metric]


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"


# What the learning-rate finders suggest, OUTPUTS of the head, over all seeds.


def suggestion_text(folder: Path, optimizer: str, finder: str, outputs: str = "10", *, pick: Pick = median) -> str:
    """The median suggestion, or the lowest or the highest."""
    return f"{pick(_suggestions(folder, optimizer, finder, outputs).values()):.2g}"


def times_below_text(
    folder: Path, optimizer: str, finder: str, other: str, outputs: str = "10", *, pick: Pick = median
) -> str:
    """How many times the suggestion lies below another finder's for the same seed."""
    ours, theirs = (_suggestions(folder, optimizer, name, outputs) for name in (finder, other))
    return f"{pick(theirs[seed] / rate for seed, rate in ours.items()):.2g}"


def times_below_rate_text(folder: Path, rate: str, optimizer: str, finder: str, outputs: str = "10") -> str:
    """How many times the median suggestion lies below a rate."""
    return f"{float(rate) / median(_suggestions(folder, optimizer, finder, outputs).values()):.2g}"


def trained_loss_text(folder: Path, optimizer: str, finder: str) -> str:
    """The training loss of the last epoch at a finder's rate."""
    (loss,) = (
        float(row["loss_last_epoch"])
        for row in read_rows(folder / "training.csv")
        if (row["optimizer"], row["finder"]) == (optimizer, finder)
    )
    return f"{loss:.2f}"


def _suggestions(folder: Path, optimizer: str, finder: str, outputs: str) -> dict[str, float]:
    """The suggestions of a finder by seed."""
    wanted = (optimizer, finder, outputs)
    found = [
        row
        for row in read_rows(folder / "suggestions.csv")
        if (row["optimizer"], row["finder"], row["outputs"]) == wanted
    ]
    if not found:
        raise LookupError("no such suggestions")
    return {row["seed"]: float(row["suggestion"]) for row in found if row["suggestion"]}


# Speeds of whole trainings. In a setting `-` is a space.


def speed_times_text(folder: Path, setting: str, other: str) -> str:
    """How many times as fast a setting trains as another: the median over the repeats."""
    speeds = [
        [
            float(row["images_per_s"])
            for row in read_rows(folder / "rows.csv")
            if row["setting"] == name.replace("-", " ")
        ]
        for name in (setting, other)
    ]
    return f"{median(ours / theirs for ours, theirs in zip(*speeds, strict=True)):.2g}"


def epoch_s_text(folder: Path) -> str:
    """The seconds of an epoch of `woof fit`: the median of the timed ones."""
    return f"{_epoch_s(folder):.0f}"


def epochs_min_text(folder: Path, epochs: str) -> str:
    """The minutes that some epochs of `woof fit` take, from the median of the timed ones."""
    return f"{int(epochs) * _epoch_s(folder) / 60:.0f}"


def _epoch_s(folder: Path) -> float:
    return median(float(row["last_epoch_s"]) for row in read_rows(folder / "rows.csv") if row["way"] == "fit")


VALUES: dict[str, Callable[..., str]] = {
    "median": median_text,
    "count": count_text,
    "over": over_text,
    "over_low": partial(over_text, part="low"),
    "over_high": partial(over_text, part="high"),
    "over_percent": over_percent_text,
    "times": times_text,
    "fastest_ms": partial(process_ms_text, pick=min),
    "slowest_ms": partial(process_ms_text, pick=max),
    "over_percent_low": partial(over_percent_text, part="low"),
    "over_percent_high": partial(over_percent_text, part="high"),
    "more": more_text,
    "share_of_step": share_of_step_text,
    "training": training_text,
    "feature": feature_text,
    "cheap_from_ms": cheap_from_ms_text,
    "top1": top1_text,
    "top5": top5_text,
    "gain": gain_text,
    "post_gain": post_gain_text,
    "below_post": below_post_text,
    "at": at_text,
    "rise": rise_text,
    "mean": mean_text,
    "lowest": lowest_text,
    "spread": spread_text,
    "standard_error": standard_error_text,
    "train_s": train_s_text,
    "suggestion": suggestion_text,
    "suggestion_low": partial(suggestion_text, pick=min),
    "suggestion_high": partial(suggestion_text, pick=max),
    "times_below_low": partial(times_below_text, pick=min),
    "times_below_high": partial(times_below_text, pick=max),
    "times_below_rate": times_below_rate_text,
    "trained_loss": trained_loss_text,
    "speed_times": speed_times_text,
    "speed_share": share_text,
    "epochs_min": epochs_min_text,
    "epoch_s": epoch_s_text,
    **CHANGE_VALUES,
    **PROFILE_VALUES,
    **SCALING_VALUES,
    **FINETUNE_VALUES,
}
