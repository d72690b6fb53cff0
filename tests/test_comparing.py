"""How parity compares: on runs that are written for it, with commands that only note what they are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from woof_lightning.errors import UserError
from woof_lightning.parity import (
    KNOWN,
    NOT_OFFERED,
    Case,
    CutError,
    Verdict,
    compare_ways,
    cut_after,
    differing,
    first_difference,
    known_reason,
    phrase,
    small_training,
    trained,
    units_in_the_last_place,
)
from woof_lightning.recipe.checkpoint import RECIPE_KEY
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import MetricsFile

CASE = Case("sgd_step", 2, "32-true", 1, ("--more", "x"))
STATE: dict[str, Any] = {
    "state_dict": {"w": torch.tensor([1.0, -2.0])},
    "optimizer_states": [{"step": 3, "rates": (0.1, 0.2)}],
    "lr_schedulers": [{"last_epoch": 2}],
    "epoch": 1,
    "global_step": 20,
    RECIPE_KEY: {},
}


def a_run(folder: Path, last: dict[str, Any] | None = None, losses: tuple[float, ...] = (1.0, 2.0)) -> RunFolder:
    run = RunFolder(folder)
    run.create()
    torch.save({**STATE, **(last or {})}, run.last)
    torch.save(STATE, run.best)
    file = MetricsFile(run.metrics)
    for step, loss in enumerate(losses, start=1):
        file.log({"train/loss": loss, "epoch": 0}, step)
    file.flush()
    return run


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"state_dict": {"w": torch.tensor([1.0, -2.5])}}, "weights of last.ckpt: state_dict.w: other values"),
    ({"state_dict": {}}, "weights of last.ckpt: state_dict.w is missing"),
    ({"optimizer_states": [{"step": 3, "rates": (0.1, 0.3)}]}, "optimizer of last.ckpt: optimizer_states.0.rates.1 is"),
    ({"optimizer_states": [{"step": 3, "rates": (0.1,)}]}, "optimizer_states.0.rates has 1 entries, expected 2"),
    ({"optimizer_states": []}, "optimizer of last.ckpt: optimizer_states has 0 entries, expected 1"),
    ({"lr_schedulers": [{"last_epoch": 1}]}, "schedule of last.ckpt: lr_schedulers.0.last_epoch is 1, expected 2"),
    ({"lr_schedulers": [{"last_epoch": 2, "x": 1}]}, "lr_schedulers.0.x is not expected"),
    ({"epoch": 0}, "progress of last.ckpt: epoch is 0, expected 1"),
    ({"global_step": 19}, "progress of last.ckpt: global_step is 19, expected 20"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "told"), CHANGES)
def test_each_part_of_a_checkpoint_counts(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    reference = a_run(tmp_path / "reference")
    assert first_difference(reference, a_run(tmp_path / "same")) is None
    found = first_difference(reference, a_run(tmp_path / "other", change))
    assert found is not None
    assert told in found


def test_the_best_counts_too_and_may_not_be_missing(tmp_path: Path) -> None:
    reference, other = a_run(tmp_path / "reference"), a_run(tmp_path / "other")
    torch.save({**STATE, "epoch": 0}, other.best)
    assert first_difference(reference, other) == "progress of best.ckpt: epoch is 0, expected 1"
    for name in ("best", "last"):
        getattr(other, name).unlink()
        assert first_difference(reference, other) == f"checkpoints: no {name}.ckpt"
    assert first_difference(reference, reference) is None


def test_metrics_count_row_by_row_unless_a_way_has_none(tmp_path: Path) -> None:
    reference = a_run(tmp_path / "reference")
    other = a_run(tmp_path / "other", losses=(1.0, 2.5))
    assert first_difference(reference, other) == "metrics: row.train/loss is 2.5, expected 2.0"
    shorter = a_run(tmp_path / "shorter", losses=(1.0,))
    assert first_difference(reference, shorter) == "metrics: 1 rows, expected 2"
    for run in (other, shorter):
        assert first_difference(reference, run, with_metrics=False) is None


@pytest.mark.parametrize(
    ("one", "two", "units"),
    [
        (1.0, 1.0, 0),
        (1.0, 1.0 + 2**-23, 1),
        (1.0, 1.0 - 2**-24, 1),
        (-1.0, -1.0 - 2**-22, 2),
        (0.0, -0.0, 0),
        (1e-45, -1e-45, 2),
        (1.0, 2.0, 2**23),
        (-1.0, 1.0, 2 * 0x3F800000),
    ],
)
def test_units_are_representable_numbers(one: float, two: float, units: int) -> None:
    assert units_in_the_last_place(torch.tensor([5.0, one]), torch.tensor([5.0, two])) == units
    assert units_in_the_last_place(torch.tensor([two, 5.0]), torch.tensor([one, 5.0])) == units


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bfloat16])
def test_of_other_types_it_is_the_difference_rounded_up(dtype: torch.dtype) -> None:
    one, two = torch.tensor([1.0, 3.0], dtype=dtype), torch.tensor([1.0, -4.0], dtype=dtype)
    assert units_in_the_last_place(one, two) == units_in_the_last_place(two, one) == 7
    assert units_in_the_last_place(torch.tensor([0.25], dtype=torch.float64), torch.tensor([0.5])) == 1


def test_a_few_units_are_told_and_many_are_other_values() -> None:
    one = torch.tensor([1.0])
    near = torch.nextafter(one, torch.tensor([2.0]))
    assert differing({"w": one}, {"w": near}, "x") == "x.w: up to 1 units in the last place"
    assert differing(one, torch.tensor([1.0 + 2**-3]), "x") == f"x: up to {2**20} units in the last place"
    assert differing(one, torch.tensor([1.0 + 2**-3 + 2**-23]), "x") == "x: other values"
    assert differing([1, (2, {"a": None})], [1, (2, {"a": None})], "x") is None


class Verbs:
    """Commands that write a run and note their options; in the midst of a training they take optimizer steps."""

    def __init__(self, **ends: Any) -> None:
        self.ends = ends
        self.calls: list[tuple[str, list[str], int]] = []

    def __getitem__(self, way: str) -> Any:
        def verb(args: Any) -> None:
            args = list(args)
            optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
            self.calls.append((way, args, 0))
            for done in range(20):
                optimizer.step()
                self.calls[-1] = (way, args, done + 1)
            print("nothing of this is shown")
            end = self.ends.get(way)
            if isinstance(end, Exception):
                raise end
            place = Path(args[args.index("--runs_dir") + 1]) / args[args.index("--name") + 1]
            a_run(place, end)

        return verb


def test_the_reference_is_the_bare_loop_in_one_go_without_workers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    verbs = Verbs(fabric={"epoch": 0}, fastai=UserError("fastai trains in 32-true only; choose"))
    verdicts = list(compare_ways([CASE], ["bare", "fabric", "fastai"], tmp_path, verbs))  # type: ignore[arg-type]
    assert [(v.way, v.difference, v.known) for v in verdicts] == [
        ("bare", None, None),
        ("fabric", "progress of last.ckpt: epoch is 0, expected 1", None),
        ("fastai", f"{NOT_OFFERED}: fastai trains in 32-true only", NOT_OFFERED),
    ]
    assert {v.case for v in verdicts} == {CASE}
    ways = [(way, steps, "--resume" in args, "--data.num_workers=2" in args) for way, args, steps in verbs.calls]
    # Cut before the eleventh step, which is that of epoch 1, and resumed.
    assert ways[:3] == [("bare", 20, True, False), ("bare", 10, False, True), ("bare", 20, True, True)]
    reference, cut, resumed = (args for _, args, _ in verbs.calls[:3])
    assert "--data.num_workers=0" in reference
    assert cut == resumed[:-1]
    assert cut[cut.index("--name") + 1] == "0-bare"
    assert reference[reference.index("--name") + 1] == "0-reference"
    assert "nothing" not in "".join(capfd.readouterr())


def test_each_case_has_a_reference_of_its_own(tmp_path: Path) -> None:
    verbs = Verbs()
    straight = replace(CASE, cut_before=None)
    list(compare_ways([straight, straight], ["fabric"], tmp_path, verbs))  # type: ignore[arg-type]
    names = [args[args.index("--name") + 1] for _, args, _ in verbs.calls]
    assert names == ["0-reference", "0-fabric", "1-reference", "1-fabric"]


def test_a_way_without_metrics_is_compared_without(tmp_path: Path) -> None:
    class NoMetrics(Verbs):
        def __getitem__(self, way: str) -> Any:
            verb = super().__getitem__(way)

            def without(args: Any) -> None:
                verb(args)
                if way in ("lightning", "fabric"):
                    place = Path(args[args.index("--runs_dir") + 1]) / args[args.index("--name") + 1]
                    RunFolder(place).metrics.unlink()

            return without

    ways = ["lightning", "fabric"]
    verdicts = compare_ways([replace(CASE, cut_before=None)], ways, tmp_path, NoMetrics())  # type: ignore[arg-type]
    assert [v.difference for v in verdicts] == [None, "metrics: 0 rows, expected 2"]


def test_a_case_s_options_reach_its_verb(tmp_path: Path) -> None:
    verbs = Verbs()
    run = trained(replace(CASE, cut_before=None, precision="bf16-mixed"), tmp_path / "there", verbs["bare"])
    assert run.path == tmp_path / "there"
    ((_, args, _),) = verbs.calls
    assert args == [
        *("--model.optimizer", "sgd", "--model.schedule", "step", "--model.lr", "0.1"),
        *("--data.num_workers=2", "--trainer.precision=bf16-mixed", "--more", "x"),
        *("--runs_dir", str(tmp_path), "--name", "there", "--resume"),
    ]
    assert CASE.name == "sgd_step, 32-true, 2 workers, resumed at epoch 1"
    assert replace(CASE, cut_before=None).name == "sgd_step, 32-true, 2 workers"


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_cut_comes_before_the_next_step_and_only_there(steps: int) -> None:
    taken: list[int] = []
    handle = register_optimizer_step_post_hook(lambda *_: taken.append(1))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    try:
        with cut_after(steps):
            for _ in range(steps):
                optimizer.step()
            with pytest.raises(CutError, match=f"cut after {steps} steps"):
                optimizer.step()
            assert len(taken) == steps
            optimizer.step()
        with cut_after(0):
            pass
        optimizer.step()
        assert len(taken) == steps + 2
    finally:
        handle.remove()


def test_known_differences_are_known_where_they_are() -> None:
    for (way, how, schedule), (part, reason) in KNOWN.items():
        assert how == "resumed"
        case = replace(CASE, experiment={"step": "sgd_step", "onecycle": "sgd_onecycle"}[schedule])
        assert known_reason(way, case, f"{part} of last.ckpt: x") == reason
        assert known_reason(way, case, None) is None
        assert known_reason(way, case, f"progress, not {part}") is None
        assert known_reason(way, replace(case, cut_before=None), f"{part} of last.ckpt: x") is None
    assert known_reason("hand_rolled", replace(CASE, experiment="sgd_onecycle"), "schedule of last.ckpt: x") is None
    assert known_reason("bare", CASE, "") is None


def test_a_verdict_in_words() -> None:
    assert phrase(Verdict("bare", CASE, None)) == "equal"
    assert phrase(Verdict("bare", CASE, "weights: x")) == "DIFFERS: weights: x"
    assert phrase(Verdict("bare", CASE, "weights: x", "a reason")) == "known: weights: x (a reason)"
    assert phrase(Verdict("bare", CASE, "not offered: x", NOT_OFFERED)) == "not offered: x"


def test_a_small_training_is_two_epochs_of_ten_reported_steps() -> None:
    words = small_training(Path("data"), "resnet18", 32)
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options == {
        "--data.root": "data", "--data.variant": "synthetic", "--data.image_size": "32", "--data.batch_size": "16",
        "--model.arch": "resnet18", "--trainer.accelerator": "cpu", "--trainer.limit_train_batches": "10",
        "--trainer.limit_val_batches": "2", "--trainer.max_epochs": "2", "--trainer.log_every_n_steps": "1",
    }  # fmt: skip
