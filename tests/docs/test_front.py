"""The first screen and the tutorial: programs shown as diffs end alike, and the figure is that of the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from matplotlib.patches import Rectangle
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from docs.generate.change_tables import outcomes_table
from docs.generate.figures import CHANGES, COST
from docs.generate.front import (
    DRAWN,
    PROGRAMS,
    cheap_from_ms_text,
    code_below_imports,
    fenced_diff,
    front_figure,
    step_costs,
)
from tests.programs import EXAMPLES, program


def test_the_diff_of_the_readme_is_one_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(torch.randn(20, 6), torch.arange(20) % 3), 8)
    start = nn.Linear(6, 3).state_dict()
    ends = []
    for name in ("by_hand", "lightning_way"):
        net = nn.Linear(6, 3)
        net.load_state_dict(start)
        program(f"twelve_lines/{name}").train(net, loader, 3)
        ends.append(net.state_dict())
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name])
        assert not torch.equal(value, start[name])


@pytest.fixture
def few_dogs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten classes with few random images, in the layout of the drawn dogs; the current folder is empty."""
    from PIL import Image

    random = torch.Generator().manual_seed(0)
    for split, count in (("train", 7), ("val", 3)):
        for number in range(10):
            folder = tmp_path / "dogs" / split / f"class_{number}"
            folder.mkdir(parents=True)
            for image in range(count):
                pixels = torch.randint(0, 256, (40, 48, 3), generator=random, dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(folder / f"{image}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "dogs"


@pytest.mark.long
def test_the_steps_of_the_tutorial_end_alike(few_dogs: Path) -> None:
    nets: dict[str, Any] = {}
    reached = {}
    for step in ("step_1", "step_2", "step_3", "step_4"):
        module = program(f"start/{step}")
        made = module.resnet18
        module.resnet18 = lambda made=made, step=step, **settings: keep(nets, step, made(**settings))
        module.EPOCHS = 2
        reached[step] = module.train(few_dogs)
    first = nets["step_1"].state_dict()
    for step, net in nets.items():
        assert all(torch.equal(first[name], value) for name, value in net.state_dict().items()), step
        assert reached[step] == pytest.approx(reached["step_1"], abs=1e-6)
    check_the_resume(few_dogs, first)


def check_the_resume(folder: Path, unbroken: dict[str, Any]) -> None:
    """Cuts the last step's program in its second epoch; it goes on there, and ends in other bits, as the page says."""
    module = program("start/step_4")
    module.EPOCHS = 2
    module.Classifier.on_train_epoch_start = cut_in_the_second_epoch
    with pytest.raises(ZeroDivisionError):
        module.train(folder)
    again = program("start/step_4")
    again.EPOCHS = 2
    again.train(folder, resume=True)
    saved = torch.load("runs/start/last.ckpt", weights_only=True)
    assert (saved["epoch"], saved["global_step"]) == (1, 6)
    assert any(not torch.equal(unbroken[name], saved["state_dict"][f"net.{name}"]) for name in unbroken)


def cut_in_the_second_epoch(module: Any) -> None:
    if module.current_epoch == 1:
        raise ZeroDivisionError


def keep(nets: dict[str, Any], step: str, net: nn.Module) -> nn.Module:
    nets[step] = net
    return net


def test_a_way_is_cheap_from_where_its_cost_is_that_share() -> None:
    cost_us = step_costs(COST)["woof_fit"]["median"]
    assert float(cheap_from_ms_text(COST, "woof_fit", "5")) == pytest.approx(cost_us / 1000 / 0.05, rel=0.01)
    assert float(cheap_from_ms_text(COST, "woof_fit", "1")) == pytest.approx(cost_us / 1000 / 0.01, rel=0.01)


def test_the_figure_draws_the_rows() -> None:
    left, right = front_figure(COST, CHANGES).axes
    costs = step_costs(COST)
    assert "bare" not in costs
    assert 0 < costs["fabric"]["median"] < costs["woof_fit"]["median"] < costs["lightning"]["median"]
    assert [cast(Rectangle, bar).get_width() for bar in left.patches] == [
        costs[way]["median"] for way in DRAWN if way in costs
    ]
    table = outcomes_table(CHANGES)
    shares = [text.get_text() for text in right.texts if "%" in text.get_text()]
    assert len(shares) == len(DRAWN) - sum(name is None for name in PROGRAMS.values())
    for text in shares:
        percent, counted = text.replace(")", "").split("  (")
        assert f"{counted} ({percent})" in table


def test_a_diff_has_both_programs() -> None:
    folder = EXAMPLES / "twelve_lines"
    by_hand, lightning = (code_below_imports(folder / f"{name}.py") for name in ("by_hand", "lightning_way"))
    assert not any("import" in line for line in by_hand + lightning)
    lines = fenced_diff(by_hand, lightning, around=len(by_hand)).splitlines()[1:-1]
    for sign, program_lines in (("-", by_hand), ("+", lightning)):
        shown = [line[1:] for line in lines if line[:1] in (sign, " ")]
        assert [line for line in shown if line] == [line for line in program_lines if line]
    assert fenced_diff(["a", "b", "c", "d", "e"], ["a", "b", "x", "d", "e"], around=1) == (
        "```diff\n b\n-c\n+x\n d\n```\n"
    )
