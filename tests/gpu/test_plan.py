"""The plan for a GPU machine: its order, its commands, and what it lets through."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docs.results.gpu.plan import (
    CACHE,
    CHECKS,
    COST,
    EXPERIMENTS,
    LOOPS,
    ON_DEVICE,
    POST,
    TRUE_FP32,
    WOOF,
    Place,
    Step,
    chosen_loading,
    plan,
)
from tests.conftest import CONFIGS
from woof_lightning.cli import cost, loop, predict, profile
from woof_lightning.cli.lightning_cli import FIT, LR_FIND, known_keys
from woof_lightning.loops import ways


def place(work: Path, *, trial: bool = False) -> Place:
    return Place(work, work / "images", trial=trial)


def by_name(steps: list[Step]) -> dict[str, Step]:
    return {step.name: step for step in steps}


def value(step: Step, option: str) -> str:
    """The last value of an option: it wins."""
    places = [number for number, word in enumerate(step.command) if word == option]
    return step.command[places[-1] + 1]


def test_checks_come_first_then_the_post_then_the_cost(tmp_path: Path) -> None:
    steps = plan(place(tmp_path))
    order = {CHECKS: 0, POST: 1, COST: 2}
    assert [step.part for step in steps] == sorted((step.part for step in steps), key=lambda part: order[part])
    names = [step.name for step in steps]
    assert len(set(names)) == len(names)
    assert names[:3] == ["conditions", "draw", "fit"]
    assert {f"loop-{name}" for name in ways.LOOPS} <= set(names)
    assert set(LOOPS) == set(ways.LOOPS)
    for name in ("lr-find", "resume", "validate", "predict", "parity-fp32", "parity-resumed", "parity-bf16"):
        assert by_name(steps)[name].part == CHECKS


def test_the_main_experiment_comes_first_and_each_seed_after_the_one_before(tmp_path: Path) -> None:
    names = [step.name for step in plan(place(tmp_path)) if step.part == POST]
    trained = [f"{name}-bf16-seed{seed}" for seed in (0, 1, 2) for name in EXPERIMENTS]
    assert [name for name in names if name in trained] == trained
    assert trained[:2] == ["adamw_onecycle-bf16-seed0", "sgd_step-bf16-seed0"]
    assert names[:2] == ["loading-cache", "loading-on_device"]
    assert names[-2:] == ["adamw_onecycle-fp32-seed0", "sgd_step-fp32-seed0"]
    assert set(EXPERIMENTS) <= {file.stem for file in CONFIGS.glob("*.yaml")}


def test_an_experiment_has_the_post_s_setting(tmp_path: Path) -> None:
    steps = by_name(plan(place(tmp_path)))
    step = steps["sgd_onecycle-bf16-seed2"]
    assert step.command[: len(WOOF) + 1] == (*WOOF, "fit")
    assert step.command[len(WOOF) + 1 :][:4] == (
        "--config",
        "configs/sgd_onecycle.yaml",
        "--config",
        "configs/gpu.yaml",
    )
    assert value(step, "--trainer.max_epochs") == "40"
    assert value(step, "--seed_everything") == "2"
    assert value(step, "--data.folder") == str(tmp_path / "images")
    assert "--resume" in step.command
    # Sizes and batches are those of the configs.
    assert not {"--data.image_size", "--data.batch_size", "--trainer.precision"} & set(step.command)


def test_true_fp32_goes_through_the_script_that_switches_tf32_off(tmp_path: Path) -> None:
    steps = by_name(plan(place(tmp_path)))
    for name in ("adamw_onecycle-fp32-seed0", "sgd_step-fp32-seed0", "lr-find-head1000"):
        step = steps[name]
        assert step.command[1:3] == ("-m", "docs.results.gpu.true_fp32")
        assert step.command[3] == str(tmp_path / "runs" / name / "flags.json")
        assert step.command[4] == ("lr-find" if name == "lr-find-head1000" else "fit")
        assert value(step, "--trainer.precision") == "32-true"
        assert TRUE_FP32 in step.note
    sweep = steps["lr-find-head1000"]
    assert value(sweep, "--config") == "configs/gpu.yaml"
    assert "configs/adamw_onecycle.yaml" in sweep.command
    assert (value(sweep, "--model.num_classes"), value(sweep, "--num_training")) == ("1000", "50")


@pytest.mark.parametrize("trial", [False, True])
def test_every_option_is_one_that_its_verb_takes(tmp_path: Path, trial: bool) -> None:
    keys = {"fit": known_keys(FIT), "lr-find": known_keys(LR_FIND), "loop": loop.known_keys()}
    checked = 0
    for step in plan(place(tmp_path, trial=trial)):
        words = step.command[4:] if "docs.results.gpu.true_fp32" in step.command else step.command[len(WOOF) :]
        if words[0] in keys and step.command[2] != "docs.results.gpu.parity":
            options = {word.partition("=")[0].removeprefix("--") for word in words if word.startswith("--")}
            assert options <= set(keys[words[0]]), step.name
            checked += 1
    assert checked > 20


def test_the_other_verbs_parse_their_options(tmp_path: Path) -> None:
    steps = by_name(plan(place(tmp_path, trial=True)))
    assert cost.parse(steps["cost-fixed-1"].command[len(WOOF) + 1 :]).dry_run
    assert profile.parse(steps["profile-small"].command[len(WOOF) + 1 :]).training.endswith("profiled:small")
    assert predict.parse(steps["predict"].command[len(WOOF) + 1 :]).images == [tmp_path / "data" / "synthetic" / "val"]


def test_a_block_of_the_cost_is_a_step_and_adds_to_those_before(tmp_path: Path) -> None:
    steps = [step for step in plan(place(tmp_path)) if step.name.startswith("cost-")]
    assert [(value(step, "--groups"), value(step, "--repeats")) for step in steps] == [
        (group, str(number)) for number in (1, 2, 3) for group in ("fixed", "real")
    ]
    assert all("--resume" in step.command and value(step, "--out") == str(tmp_path / "cost") for step in steps)


def test_nothing_of_a_trial_asks_for_a_gpu(tmp_path: Path) -> None:
    for step in plan(place(tmp_path, trial=True)):
        if "--trainer.accelerator" in step.command:
            assert value(step, "--trainer.accelerator") == "cpu"
    assert value(by_name(plan(place(tmp_path)))["fit"], "--trainer.accelerator") == "cuda"


@pytest.mark.parametrize(
    ("cache", "on_device", "chosen"),
    [(1000, 1100, CACHE), (1000, 1300, ON_DEVICE), (1000, None, CACHE), (None, 900, ON_DEVICE), (None, None, CACHE)],
)
def test_the_faster_way_to_load_is_taken_if_it_is_worth_it(
    tmp_path: Path, cache: float | None, on_device: float | None, chosen: str
) -> None:
    for way, speed in (("cache", cache), ("on_device", on_device)):
        if speed is not None:
            folder = tmp_path / "runs" / f"loading-{way}"
            folder.mkdir(parents=True)
            (folder / "result.json").write_text(json.dumps({"images_per_s": speed}), encoding="utf-8")
    assert chosen_loading(place(tmp_path)) == chosen
    step = by_name(plan(place(tmp_path)))["sgd_step-bf16-seed1"]
    assert f"--data.on_device={chosen == ON_DEVICE}" in step.command
    assert f"loading: {chosen}" in step.note
    assert chosen_loading(Place(tmp_path, tmp_path, loading=CACHE)) == CACHE
