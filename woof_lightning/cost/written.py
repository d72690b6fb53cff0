"""What a person writes for each behaviour of a training, in every way to train.

Code counts for each way that runs it, in whichever file it stands. Outside every scope is only what all ways run alike
and what defines the training rather than its loop: `data/`, `recipe/` but for metrics and checkpoints (for which
Lightning has parts of its own), `loops/experiment.py`, settings, locks, errors and the command.

The smallest part is a function. A statement that switches a behaviour on, such as an argument of Trainer, stands in the
function around it, and the behaviour has no lines if nothing else is written for it. A line belongs to the most
specific part around it, so to one behaviour only. An import belongs to the first behaviour that uses what it brings.
The lines of `woof_fit` include what no other way does: it stops safely at signals and NaN, and resumes within an epoch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from woof_lightning.loops.ways import LOOPS, REFERENCE, WAYS, WOOF_FIT
from woof_lightning.measure.code import framework_names, logical_line_starts

PACKAGE = Path(__file__).parents[1]
BEHAVIOURS = ("loop", "bar", "logs", "checkpoints", "resume")
LOOP, BAR, LOGS, CHECKPOINTS, RESUME = BEHAVIOURS
# Within a part that counts, but not run by the way.
OUTSIDE = "outside"
# Parts with their behaviour. A part is a file, or a function, class or constant as file.py::Qual.name.
Parts = dict[str, str]


def _as(behaviour: str, file: str, names: str = "") -> Parts:
    return dict.fromkeys([f"{file}::{name}" for name in names.split()] or [file], behaviour)


# What every way runs.
FOLDER: Parts = {
    **_as(RESUME, "runs/folder.py", "RunFolder make_folder HAND_ROLLED_CHECKPOINTS"),
    **_as(OUTSIDE, "runs/folder.py", "RunFolder.check_no_sweep RunFolder.is_locked RunFolder.check_there"),
    **_as(OUTSIDE, "runs/folder.py", "RunFolder.saved_at_ns RunFolder.write_result"),
    **_as(CHECKPOINTS, "runs/folder.py", "writing_durably write_text_durably _replace _sync_folder TEMPORARY_PREFIX"),
    **_as(CHECKPOINTS, "recipe/checkpoint.py", "TrainedRecipe RECIPE_KEY"),
    **_as(RESUME, "recipe/checkpoint.py", "read_checkpoint recipe_of check_same_images"),
    **_as(LOGS, "runs/record.py", "RunRecord.summary"),
    **_as(LOGS, "runs/hparams.py"),
}
# What every way runs that leaves metrics.csv and result.json: all but `lightning`.
RECORD: Parts = {
    **_as(LOGS, "runs/metrics.py"),
    **_as(RESUME, "runs/metrics.py", "MetricsFile.cut_after"),
    **_as(LOGS, "runs/record.py"),
    **_as(CHECKPOINTS, "runs/record.py", "RunRecord.state_dict"),
    **_as(RESUME, "runs/record.py", "RunRecord.load_state_dict"),
    **_as(OUTSIDE, "runs/record.py", "RunRecord.cut_to"),
    **_as(LOGS, "runs/folder.py", "RunFolder.write_result"),
    **_as(LOGS, "recipe/metrics.py", "METRICS per_image training_report epoch_means SplitMeans _running_sum _hits"),
    **_as(OUTSIDE, "recipe/metrics.py", "SplitMeans.interleaved"),
    **_as(CHECKPOINTS, "recipe/checkpoint.py", "NET_PREFIX"),
}
START: Parts = _as(RESUME, "loops/start.py")
# What the loops run that leave their files to LoopRun: all but `lightning`.
LOOP_RUN: Parts = {
    **FOLDER,
    **RECORD,
    **START,
    **_as(LOGS, "loops/run.py"),
    **_as(CHECKPOINTS, "loops/run.py", "LoopRun.epoch_ended LoopRun._checkpoint LoopRun.description"),
    **_as(RESUME, "loops/run.py", "LoopRun.first_epoch LoopRun.first_step LoopRun.restore LoopRun._cut_metrics"),
    **_as(RESUME, "loops/run.py", "LoopRun._checked LOOP_KEY"),
    **_as(OUTSIDE, "loops/run.py", "LoopRun.resume_at"),
}
EVENTS_BY_FRAMEWORK = _as(OUTSIDE, "loops/run.py", "LoopRun.log_to_tensorboard")
OWN: dict[str, Parts] = {
    "lightning": {
        **FOLDER,
        **START,
        # Its checkpoints are Lightning's. What the loops write theirs with only writes config.yaml here.
        **_as(RESUME, "runs/folder.py", "writing_durably write_text_durably _replace _sync_folder TEMPORARY_PREFIX"),
        **_as(CHECKPOINTS, "loops/lightning.py", "LightningClassifier.on_save_checkpoint"),
        **_as(CHECKPOINTS, "loops/run.py", "LoopRun.description"),
        **_as(RESUME, "loops/run.py", "LoopRun._checked LOOP_KEY"),
    },
    "hand_rolled": {
        **LOOP_RUN,
        **EVENTS_BY_FRAMEWORK,
        **_as(BAR, "loops/hand_rolled.py", "Bars"),
        **_as(LOGS, "loops/hand_rolled.py", "TrainerIO.metric_logger in_percent numbered_rates"),
        **_as(CHECKPOINTS, "loops/hand_rolled.py", "TrainerIO"),
        **_as(RESUME, "loops/hand_rolled.py", "TrainerIO.load_last"),
        **_as(OUTSIDE, "loops/run.py", "LoopRun.first_epoch LoopRun.first_step LoopRun.restore"),
        **_as(RESUME, "loops/run.py", "LoopRun.resume_at"),
        **_as(RESUME, "runs/record.py", "RunRecord.cut_to"),
    },
    "fabric": {**LOOP_RUN, **EVENTS_BY_FRAMEWORK},
    "accelerate": {**LOOP_RUN, **EVENTS_BY_FRAMEWORK},
    "ignite": {**LOOP_RUN, **EVENTS_BY_FRAMEWORK, **_as(LOGS, "loops/ignite.py", "train.report train.log")},
    WOOF_FIT: {
        **FOLDER,
        **RECORD,
        # The script that builds the Trainer. `woof fit` builds the same with LightningCLI.
        **_as(LOOP, "cost/ways.py", "woof_fit"),
        **_as(LOOP, "cost/lightnings.py", "trainer_options"),
        **_as(LOOP, "lit/trainer.py", "NVML_CHECK TRAINER_DEFAULTS run_callbacks files_of_batch"),
        **_as(LOOP, "lit/trainer.py", "no_search_for_a_driver WoofTrainer"),
        **_as(OUTSIDE, "lit/trainer.py", "WoofTrainer.lr_find"),
        **_as(LOGS, "lit/trainer.py", "run_loggers"),
        **_as(CHECKPOINTS, "lit/trainer.py", "best_and_last"),
        **_as(LOOP, "lit/quiet.py"),
        **_as(LOOP, "lit/classifier.py"),
        **_as(LOOP, "lit/module.py"),
        **_as(OUTSIDE, "lit/module.py", "LeanModule.load_from_checkpoint"),
        **_as(LOGS, "lit/classifier.py", "NEVER WoofClassifier.on_train_start WoofClassifier.on_train_epoch_start"),
        **_as(LOGS, "lit/classifier.py", "WoofClassifier.on_train_epoch_end WoofClassifier.on_validation_epoch_start"),
        **_as(LOGS, "lit/classifier.py", "WoofClassifier.on_validation_epoch_end WoofClassifier._steps_with"),
        **_as(LOGS, "lit/classifier.py", "WoofClassifier.is_reported WoofClassifier.log_report WoofClassifier._log"),
        **_as(CHECKPOINTS, "lit/classifier.py", "REPORTS_KEY WoofClassifier.on_save_checkpoint"),
        **_as(RESUME, "lit/classifier.py", "WoofClassifier.on_load_checkpoint"),
        **_as(BAR, "lit/progress.py"),
        **_as(LOGS, "lit/recorder.py"),
        **_as(CHECKPOINTS, "lit/recorder.py", "Recorder.on_save_checkpoint Recorder.state_dict"),
        **_as(RESUME, "lit/recorder.py", "Recorder.load_state_dict"),
        **_as(RESUME, "lit/run.py"),
        **_as(LOGS, "lit/run.py", "FitRun.loggers FitRun.summary as_list"),
        **_as(LOOP, "lit/callbacks/hooks.py"),
        **_as(CHECKPOINTS, "lit/callbacks/checkpoints.py"),
        **_as(RESUME, "lit/callbacks/checkpoints.py", "DurableCheckpointIO.load_checkpoint _moved"),
        **_as(RESUME, "lit/callbacks/checkpoints.py", "MovableModelCheckpoint.load_state_dict"),
        **_as(CHECKPOINTS, "lit/callbacks/stopping.py"),
        **_as(LOOP, "lit/callbacks/stopping.py", "NonFiniteLossGuard WAY_OUT step_of all_finite lr_of"),
        # It saves within an epoch where it is asked to, which no other way can.
        **_as(OUTSIDE, "lit/callbacks/stopping.py", "SaveEvery"),
        # Of the data only what Lightning needs to resume in the right order.
        **_as(RESUME, "lit/datamodule.py", "ImagewoofDataModule.train_dataloader ImagewoofDataModule.state_dict"),
        **_as(RESUME, "lit/datamodule.py", "ImagewoofDataModule.load_state_dict ImagewoofDataModule.teardown"),
        **_as(RESUME, "lit/datamodule.py", "_epochs_done _batches_done"),
        **_as(CHECKPOINTS, "runs/folder.py", "RunFolder.check_there"),
        **_as(RESUME, "runs/folder.py", "RunFolder.saved_at_ns checkpoint_file"),
        **_as(RESUME, "recipe/checkpoint.py", "check_same_classes"),
    },
}
WRITTEN: dict[str, Parts] = {
    **{name: {**_as(LOOP, f"loops/{name}.py"), **OWN.get(name, LOOP_RUN)} for name in LOOPS},
    WOOF_FIT: OWN[WOOF_FIT],
}
# What a way does not do.
MISSING = {REFERENCE: (BAR,)}


def cells(way: str) -> dict[str, tuple[str, ...] | None]:
    """Returns the parts that are written for each behaviour; none if the framework has it built in.

    Args:
        way: The way's name.

    Returns:
        The parts by behaviour, or None where the way does not have the behaviour.
    """
    return {
        behaviour: None
        if behaviour in MISSING.get(way, ())
        else tuple(part for part, its_behaviour in WRITTEN[way].items() if its_behaviour == behaviour)
        for behaviour in BEHAVIOURS
    }


def code_values(way: str) -> dict[str, float]:
    """Returns counts of what a person writes for a way. It imports the way's framework.

    Args:
        way: The way's name.

    Returns:
        lines_loop, lines_bar and so on: Logical lines by behaviour, without those that the way does not have.
        logical_lines: Their sum.
        framework_names: Distinct names of the framework in all these lines.
    """
    counts = {f"lines_{behaviour}": 0.0 for behaviour, parts in cells(way).items() if parts is not None}
    names: set[str] = set()
    for file in files_of(WRITTEN[way]):
        text = (PACKAGE / file).read_text(encoding="utf-8")
        lines = behaviour_by_line(text, parts_of(WRITTEN[way], file))
        for behaviour in filter(None, map(lines.get, logical_line_starts(text))):
            counts[f"lines_{behaviour}"] += 1
        if WAYS[way].packages:
            names |= framework_names(text, WAYS[way].packages, lines)
    return {**counts, "logical_lines": sum(counts.values()), "framework_names": float(len(names))}


def files_of(parts: Parts) -> list[str]:
    """Returns the files that some parts stand in, each once."""
    return list(dict.fromkeys(part.partition("::")[0] for part in parts))


def parts_of(parts: Parts, file: str) -> Parts:
    """Returns the parts within a file, by their names in it; the name of the whole file is empty."""
    split = {part.partition("::")[::2]: behaviour for part, behaviour in parts.items()}
    return {name: behaviour for (its_file, name), behaviour in split.items() if its_file == file}


def behaviour_by_line(text: str, parts: Parts) -> dict[int, str]:
    """Returns the behaviour of each line that counts, by its number.

    Args:
        text: The source text.
        parts: The parts that stand in it, by their names in it.

    Raises:
        KeyError: If the text has no such part.
    """
    tree = ast.parse(text)
    places = {"": range(1, len(text.splitlines()) + 1), **dict(definitions(tree))}
    lines: dict[int, str] = {}
    for name in sorted(parts, key=lambda name: -len(places[name])):  # What is within another comes after it.
        lines |= dict.fromkeys(places[name], parts[name])
    for node in tree.body:
        if is_import(node) or is_guard(node):
            for line in lines_of(node):
                lines.pop(line, None)
    lines |= behaviour_of_imports(tree, lines, parts)
    return {line: behaviour for line, behaviour in lines.items() if behaviour != OUTSIDE}


def definitions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, range]]:
    """Yields functions, classes and constants with their lines; what is within a function is named like a method."""
    for part in ast.iter_child_nodes(node):
        if isinstance(part, (ast.FunctionDef, ast.ClassDef)):
            yield f"{prefix}{part.name}", lines_of(part)
            yield from definitions(part, f"{prefix}{part.name}.")
        elif isinstance(part, (ast.Assign, ast.AnnAssign)) and not prefix:
            targets = part.targets if isinstance(part, ast.Assign) else [part.target]
            yield from ((target.id, lines_of(part)) for target in targets if isinstance(target, ast.Name))


def lines_of(node: ast.stmt) -> range:
    """Returns the lines of a statement, with its decorators."""
    first = min(part.lineno for part in (node, *getattr(node, "decorator_list", ())))
    return range(first, (node.end_lineno or first) + 1)


def is_import(node: ast.stmt) -> bool:
    """Returns whether a statement imports something."""
    return isinstance(node, (ast.Import, ast.ImportFrom))


def is_guard(node: ast.stmt) -> bool:
    """Returns whether a statement keeps a file from being run as a script, which only this project needs."""
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def behaviour_of_imports(tree: ast.Module, lines: dict[int, str], parts: Parts) -> dict[int, str]:
    """Returns the behaviours of the lines that import something.

    An import counts for the first behaviour that uses what it brings. If nothing does, it has an effect of its own and
    counts with its file.

    Args:
        tree: The source text.
        lines: The behaviours of its other lines.
        parts: The parts that stand in it, by their names in it.
    """
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    found: dict[int, str] = {}
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)) and getattr(node, "module", "") != "__future__":
            brought = {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            users = [lines.get(name.lineno, OUTSIDE) for name in used if name.id in brought]
            first = min(users, key=(*BEHAVIOURS, OUTSIDE).index, default=parts.get("", OUTSIDE))
            found |= dict.fromkeys(lines_of(node), first)
    return found
