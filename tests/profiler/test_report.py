"""A profile shown: the numbers of its parts, whose they are, and the figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from woof_lightning.profile.buckets import bucket_of, owner_of
from woof_lightning.profile.draw import figure
from woof_lightning.profile.record import Profile, profile_of
from woof_lightning.profile.report import markdown, table
from woof_lightning.profile.spans import Part

BARE = {"median": 900.0, "low": 800.0, "high": 1000.0, "repeats": 7}


def part(times_us: dict[str, int], own_us: int = 5) -> Part:
    wall_ns = 1000 * (sum(times_us.values()) + own_us)
    times_ns = {name: 1000 * time_us for name, time_us in times_us.items()}
    return Part(times_ns, dict.fromkeys(times_us, 2), 1000 * own_us, 0, wall_ns)


@pytest.fixture
def profile() -> Profile:
    parts = [part({"forward": 5000})] + [
        part({"forward": 600 + n, "self.log": 300, "hook on_x": 100, "tiny": 1}) for n in range(20)
    ]
    return profile_of(parts, 1, {"module": "Net", "torch": "2"}, frozenset({"hook on_x"}))


def test_the_first_steps_are_kept_apart(profile: Profile) -> None:
    assert (profile.steps, profile.first_steps) == (20, 1)
    assert profile.first_step_us == 5000
    assert profile.steps_us[:2] == (5000, 1001)
    assert profile.step_us["median"] == 1010.5
    assert profile.step_us["p95"] == pytest.approx(1019.05)
    assert profile.own_us == 5
    shares = {share.name: share for share in profile.shares}
    assert [share.name for share in profile.shares] == ["forward", "self.log", "hook on_x", "tiny"]
    assert (shares["self.log"].sum_us, shares["self.log"].calls) == (6000, 2)


def test_one_step_is_a_profile() -> None:
    found = profile_of([part({"forward": 5})], 10, {}, frozenset())
    assert (found.steps, found.first_steps) == (1, 0)


def test_many_steps_are_thinned_for_the_figure() -> None:
    found = profile_of([part({"forward": n}) for n in range(5001)], 1, {}, frozenset())
    assert found.steps_us[:3] == (0, 3, 6)
    assert len(found.steps_us) <= 2000


def test_a_table_has_each_owner_with_its_parts(profile: Profile) -> None:
    lines = [line.split() for line in table(profile).splitlines()]
    assert lines[0][:5] == ["Net:", "1.01", "ms", "a", "step"]
    assert ["yours", "9.9%"] in lines
    assert ["Lightning", "29.8%"] in lines
    assert ["self.log", "29.7%", "300", "us", "300", "us", "2"] in lines
    assert ["1", "others", "0.1%"] in lines
    assert "took 5 us a step" in table(profile)


def test_markdown_has_the_table_and_the_comparison(profile: Profile) -> None:
    assert "bare loop" not in markdown(profile)
    compared = markdown(replace(profile, bare={"trainer_us": BARE, "bare_us": BARE, "saving_us": BARE}))
    assert table(profile) in compared
    assert "module Net, torch 2" in compared
    assert "Lightning costs you 900 us (800 to 1000, 7 turns)" in compared


def test_a_figure_has_the_owners_and_the_steps(profile: Profile) -> None:
    axes: list[Any] = figure(profile).axes
    bar, steps = axes
    assert sum(one.get_width() for one in bar.patches) == pytest.approx(100)
    assert len(steps.lines[0].get_ydata()) == 21
    assert [text.get_text() for text in bar.texts] == ["hook on_x", "forward", "self.log"]
    assert [text.get_text() for text in bar.get_legend().get_texts()] == ["yours 10%", "PyTorch 60%", "Lightning 30%"]


def test_a_profile_is_read_as_it_was_written(profile: Profile, tmp_path: Path) -> None:
    compared = replace(profile, bare={"saving_us": BARE})
    compared.write(tmp_path / "new" / "p.json")
    assert Profile.read(tmp_path / "new" / "p.json") == compared


@pytest.mark.parametrize(
    ("action", "bucket"),
    [
        ("[Strategy]SingleDeviceStrategy.training_step", "training_step"),
        ("[Strategy]DDPStrategy.backward", "backward"),
        ("[Strategy]DDPStrategy.on_train_batch_start", "Trainer"),
        ("[LightningModule]Net.transfer_batch_to_device", "moving the batch"),
        ("[LightningModule]Net.optimizer_zero_grad", "zero_grad"),
        ("[LightningModule]Net.lr_scheduler_step", "schedule"),
        ("[LightningModule]Net.configure_gradient_clipping", "gradient clipping"),
        ("[LightningModule]Net.optimizer_step", "Trainer"),
        ("[LightningModule]Net.on_train_batch_start", "hook on_train_batch_start"),
        (
            "[Callback]ModelCheckpoint{'monitor': 'a.b'}.on_train_batch_end",
            "callback ModelCheckpoint.on_train_batch_end",
        ),
        ("[Callback]Bar.on_train_batch_end", "progress bar"),
        ("[_TrainingEpochLoop].train_dataloader_next", "waiting for data"),
        ("run_training_batch", "Trainer"),
        ("save_checkpoint", "checkpoint"),
    ],
)
def test_an_action_has_its_part(action: str, bucket: str) -> None:
    assert bucket_of(action, frozenset({"Bar"})) == bucket


def test_what_users_wrote_is_theirs() -> None:
    own = frozenset({"callback Mine", "hook on_a"})
    owners = {
        name: owner_of(name, own) for name in ("callback Mine.on_b", "callback Its.on_b", "hook on_a", "hook on_b")
    }
    assert owners == {
        "callback Mine.on_b": "yours",
        "callback Its.on_b": "Lightning",
        "hook on_a": "yours",
        "hook on_b": "Lightning",
    }
