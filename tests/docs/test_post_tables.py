"""The post's results beside this project's."""

from __future__ import annotations

import json
from pathlib import Path

from docs.generate.post_tables import beside_post_table, experiments_table, first_epochs_table, sweeps_table


def cells(table: str) -> list[list[str]]:
    """The rows of a Markdown table below its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def write_result(run: Path, best: float, final: float) -> None:
    run.mkdir(parents=True)
    ends = {"best": (36, best), "final": (39, final)}
    config = {"trainer": {"precision": "32-true"}}
    metrics = {name: {"epoch": epoch, "val/acc1": top1, "val/acc5": 0.96} for name, (epoch, top1) in ends.items()}
    result = {**metrics, "epochs": 40, "config": config, "data": {"val": 3929}}
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")


def test_gains_are_over_the_experiment_before(tmp_path: Path) -> None:
    write_result(tmp_path / "sgd_step", 0.65, 0.64)
    write_result(tmp_path / "sgd_step_found_lr", 0.7, 0.7)
    write_result(tmp_path / "adamw_onecycle", 0.8, 0.79)
    assert cells(experiments_table(tmp_path)) == [
        ["sgd_step", "0.69", "", "0.650", "", "37 of 40", "0.960", "0.640", "32-true"],
        ["sgd_step_found_lr", "0.78", "+9.0", "0.700", "+5.0", "37 of 40", "0.960", "0.700", "32-true"],
        ["sgd_onecycle", "0.795", "+1.5", "not run", "", "", "", "", ""],
        # Nothing to compare with: the experiment before was not run.
        ["adamw_onecycle", "0.826", "+3.1", "0.800", "", "37 of 40", "0.960", "0.790", "32-true"],
    ]


def test_a_difference_from_the_post_has_what_images_and_seeds_make_by_chance(tmp_path: Path) -> None:
    write_result(tmp_path / "runs" / "adamw_onecycle", 0.8, 0.79)
    for seed, top1 in enumerate((0.68, 0.69, 0.70)):
        write_result(tmp_path / "seeds" / f"seed{seed}", top1, top1)
    rows = cells(beside_post_table(tmp_path / "runs", tmp_path / "seeds"))
    assert rows[0] == ["sgd_step", "0.69", "not run", "", "", "", "", ""]
    # 1.96 · 0.00638 · √2 = 0.0177; with 4.303 · 0.01: √(0.0125² + 0.0430²) · √2 = 0.0634.
    assert rows[3] == ["adamw_onecycle", "0.826", "0.800", "-2.6", "±1.8", "±6.3", "0.960", "37 of 40"]


def test_a_sweep_without_an_answer_says_none_and_the_suggestion_is_bold(tmp_path: Path) -> None:
    rates = {"steepest": 0.00123, "valley": None, "lightning": 1e-5}
    for name, suggested_by in (("adamw_onecycle", "steepest"), ("sgd_step", None)):
        folder = tmp_path / name / "lr_find"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(
            json.dumps({"points": 50, **rates, "suggested_by": suggested_by}), encoding="utf-8"
        )
    assert cells(sweeps_table(tmp_path)) == [
        ["adamw_onecycle", "50", "**0.0012**", "none", "1e-05"],
        ["sgd_step", "50", "0.0012", "none", "1e-05"],
    ]


def test_the_epochs_of_both_loops_stand_side_by_side_with_every_digit(tmp_path: Path) -> None:
    head = "epoch,step,train/loss,val/loss,val/acc1\n"
    for name, last in (("adamw_onecycle", 0.3), ("adamw_onecycle-hand_rolled", 0.30000000000000004)):
        (tmp_path / name).mkdir()
        rows = f"0,5,2.0,,\n0,10,,1.9,0.2\n1,20,,1.8,{last!r}\n"
        (tmp_path / name / "metrics.csv").write_text(
            head + rows + ("2,30,,1.7,0.5\n" if last == 0.3 else ""), encoding="utf-8"
        )
    assert cells(first_epochs_table(tmp_path)) == [
        ["1", "0.2", "0.2", "1.9", "1.9"],
        ["2", "0.3", "0.30000000000000004", "1.8", "1.8"],
    ]
