"""Every loop computes the same thing: bit for bit, in every experiment, and after a resume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import CONFIGS, Woof
from tests.ways import PEERS, WITHOUT_PEERS, needs
from woof_lightning.cli.loop import verbs
from woof_lightning.loops.ways import WAYS
from woof_lightning.parity import (
    EXPERIMENTS,
    FINE_TUNING,
    KNOWN,
    Case,
    compare_ways,
    differing,
    first_difference,
    known_reason,
    random_weights,
    small_training,
    trained,
    units_in_the_last_place,
)
from woof_lightning.recipe.checkpoint import load_net, read_checkpoint
from woof_lightning.runs.folder import RunFolder

STEPS_OF_TWO_EPOCHS = 20
# The experiment of `make check`; the others, bf16 and ResNet-18 belong to `make test`.
FIRST, *OTHERS = sorted(EXPERIMENTS)
# With loading processes, one experiment for each kind of schedule belongs to `make test`.
ONE_OF_A_KIND = ("adamw_onecycle", "sgd_step")
SAME_KIND = sorted(EXPERIMENTS.keys() - ONE_OF_A_KIND)
# Each group is compared with a reference of its own.
GROUPS = [pytest.param(WITHOUT_PEERS, id="own"), pytest.param(PEERS, id="peers", marks=needs(*PEERS))]


@pytest.fixture
def shared(drawn_root: Path) -> tuple[str, ...]:
    return (*small_training(drawn_root, "shufflenet_v2_x0_5", 32), "--data.batch_size", "8")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiments_are_those_of_the_configs(experiment: str) -> None:
    settings = yaml.safe_load((CONFIGS / f"{experiment}.yaml").read_text(encoding="utf-8"))["model"]
    assert settings | EXPERIMENTS[experiment] == settings
    assert {
        file.stem for file in CONFIGS.glob("*.yaml") if "overlay" not in file.read_text(encoding="utf-8").lower()
    } == {*EXPERIMENTS}


@pytest.mark.parametrize("setting", [("cache", "disk"), ("cache", "off"), ("on_device", "True")], ids="-".join)
@pytest.mark.parametrize("ways", GROUPS)
def test_every_loop_gets_the_same_images(
    ways: tuple[str, ...], setting: tuple[str, str], shared: tuple[str, ...], tmp_path: Path
) -> None:
    options = (*shared, f"--data.{setting[0]}", setting[1], "--trainer.limit_train_batches", "3")
    verdicts = list(compare_ways([Case(FIRST, 0, "32-true", None, options)], ways, tmp_path, verbs()))
    assert [(v.way, v.difference) for v in verdicts] == [(way, None) for way in ways]
    for result in tmp_path.glob("*/result.json"):
        assert json.loads(result.read_text(encoding="utf-8"))["loading"]["decoded_before"] == (setting[1] != "off")


@pytest.mark.parametrize("ways", GROUPS)
@pytest.mark.parametrize("experiment", [FIRST, *(pytest.param(e, marks=pytest.mark.long) for e in OTHERS)])
def test_every_loop_ends_in_the_same_bits(
    experiment: str, ways: tuple[str, ...], shared: tuple[str, ...], tmp_path: Path
) -> None:
    verdicts = list(compare_ways([Case(experiment, 0, "32-true", None, shared)], ways, tmp_path, verbs()))
    assert [(v.way, v.difference) for v in verdicts] == [(way, None) for way in ways]
    for way in ways:
        checkpoint = read_checkpoint(RunFolder(tmp_path / f"0-{way}").last)
        assert (checkpoint["epoch"], checkpoint["global_step"]) == (1, STEPS_OF_TWO_EPOCHS)
        by_step = EXPERIMENTS[experiment]["schedule"] == "onecycle"
        assert checkpoint["lr_schedulers"][0]["last_epoch"] == (STEPS_OF_TWO_EPOCHS if by_step else 2)


def test_the_groups_are_all_the_ways() -> None:
    assert {*WITHOUT_PEERS, *PEERS} == {*WAYS}


@pytest.mark.process
@pytest.mark.parametrize("ways", GROUPS)
@pytest.mark.parametrize("experiment", [*(pytest.param(e, marks=pytest.mark.slow) for e in SAME_KIND), *ONE_OF_A_KIND])
def test_a_run_with_workers_that_was_cut_and_resumed_too(
    experiment: str, ways: tuple[str, ...], shared: tuple[str, ...], tmp_path: Path
) -> None:
    case = Case(experiment, 2, "32-true", 1, shared)
    for verdict in compare_ways([case], ways, tmp_path, verbs()):
        if (verdict.way, "resumed", EXPERIMENTS[experiment]["schedule"]) in KNOWN:
            assert verdict.known, f"{verdict.way} no longer differs, or elsewhere: {verdict.difference}"
        else:
            assert verdict.difference is None, f"{verdict.way}: {verdict.difference}"


@pytest.mark.parametrize(
    "cut_before", [*(pytest.param(cut, marks=pytest.mark.long) for cut in (None, 1)), 2], ids=lambda cut: f"cut-{cut}"
)
@pytest.mark.parametrize("ways", GROUPS)
def test_fine_tuning_too(
    cut_before: int | None, ways: tuple[str, ...], shared: tuple[str, ...], tmp_path: Path
) -> None:
    """One epoch is frozen. The run that is cut before epoch 1 is resumed where the backbone begins to train."""
    weights = random_weights(tmp_path / "weights.pth", "shufflenet_v2_x0_5")
    options = (*shared, *weights, "--trainer.max_epochs", "3")
    case = Case(FINE_TUNING, 0, "32-true", cut_before, options)
    found = {verdict.way: verdict.difference for verdict in compare_ways([case], ways, tmp_path, verbs())}
    assert found == dict.fromkeys(ways)
    checkpoint = read_checkpoint(RunFolder(tmp_path / "0-reference").last)
    lrs = {group["name"]: group["max_lr"] for group in checkpoint["optimizer_states"][0]["param_groups"]}
    assert lrs == {"backbone": pytest.approx(0.002), "head": 0.02}


@pytest.mark.parametrize("ways", GROUPS)
def test_averaged_weights_too(ways: tuple[str, ...], shared: tuple[str, ...], tmp_path: Path) -> None:
    case = Case("adamw_onecycle", 0, "32-true", 1, (*shared, "--model.ema_decay", "0.7"))
    found = {verdict.way: verdict for verdict in compare_ways([case], ways, tmp_path, verbs())}
    if refused := found.pop("hand_rolled", None):
        assert refused.known == "not offered"
    assert {way: verdict.difference for way, verdict in found.items()} == dict.fromkeys(found)
    checkpoints = [read_checkpoint(RunFolder(tmp_path / name).last) for name in ("0-reference", f"0-{ways[-1]}")]
    first, last = checkpoints
    for name in ("current_model_state", "state_dict"):
        assert differing(first[name], last[name], name) is None
    assert differing(first["state_dict"], first["current_model_state"], "average") is not None


@pytest.mark.long
@pytest.mark.parametrize("ways", GROUPS)
def test_bf16_too_where_a_loop_offers_it(ways: tuple[str, ...], drawn_root: Path, tmp_path: Path) -> None:
    # Convolutions in groups are slow in bf16, and a processor without bf16 takes minutes for more steps. At 16 px the
    # last stage strides over one pixel, and oneDNN's bf16 gradient of its weights is what the memory held before.
    few = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--data.batch_size", "4")
    options = (*small_training(drawn_root, "resnet18", 32), *few, "--trainer.limit_val_batches", "1")
    verdicts = compare_ways([Case("sgd_onecycle", 0, "bf16-mixed", None, options)], ways, tmp_path, verbs())
    found = {verdict.way: verdict for verdict in verdicts}
    if refused := found.pop("fastai", None):
        assert refused.known == "not offered"
    assert {way: verdict.difference for way, verdict in found.items()} == {w: None for w in ways if w != "fastai"}


@pytest.mark.long
@pytest.mark.parametrize("ways", GROUPS)
def test_resnet18_at_64_px(ways: tuple[str, ...], drawn_root: Path, tmp_path: Path) -> None:
    few = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "3", "--data.batch_size", "8")
    options = (*small_training(drawn_root, "resnet18", 64), *few, "--model.channels_last", "true")
    verdicts = list(compare_ways([Case("sgd_onecycle", 0, "32-true", None, options)], ways, tmp_path, verbs()))
    assert [(v.way, v.difference) for v in verdicts] == [(way, None) for way in ways]
    images = torch.randn(2, 3, 64, 64)
    expected = load_net(RunFolder(tmp_path / "0-reference").best)(images)
    assert all(torch.equal(load_net(RunFolder(tmp_path / f"0-{way}").best)(images), expected) for way in ways)


def test_what_only_the_other_loop_has_is_a_difference() -> None:
    assert differing({"a": 1}, {"a": 1, "b": 2}, "row") == "row.b is not expected"


def test_differences_are_found_and_named(shared: tuple[str, ...], tmp_path: Path) -> None:
    case = Case("adamw_onecycle", 0, "32-true", None, (*shared, "--trainer.max_epochs", "1"))
    one, two = (trained(case, tmp_path / name, verbs()["bare"]) for name in ("one", "two"))
    assert first_difference(one, two) is None

    checkpoint = torch.load(two.last)
    weight = checkpoint["state_dict"]["net.fc.weight"]
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(torch.inf))
    torch.save(checkpoint, two.last)
    assert first_difference(one, two) == (
        "weights of last.ckpt: state_dict.net.fc.weight: up to 1 units in the last place"
    )
    two.last.write_bytes(one.last.read_bytes())
    header, first, *rest = two.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    epoch, step, _, *others = first.split(",")
    two.metrics.write_text("".join([header, ",".join([epoch, step, "9.5", *others]), *rest]), encoding="utf-8")
    assert str(first_difference(one, two)).startswith("metrics: row.train/loss is 9.5, expected ")
    two.metrics.write_text("".join([header, *rest]), encoding="utf-8")
    assert first_difference(one, two) == "metrics: 9 rows, expected 10"
    two.best.unlink()
    assert first_difference(one, two) == "checkpoints: no best.ckpt"


def test_units_in_the_last_place_count_over_zero() -> None:
    tiny = torch.tensor([1e-45])
    assert units_in_the_last_place(tiny, -tiny) == 2
    assert units_in_the_last_place(torch.tensor([1.0]), torch.tensor([1.0])) == 0
    assert differing([1, {"a": 2.0}], [1, {"a": 3.0}], "x") == "x.1.a is 3.0, expected 2.0"


def test_only_the_known_difference_is_excused(shared: tuple[str, ...]) -> None:
    case = Case("sgd_step", 2, "32-true", 1, shared)
    assert known_reason("hand_rolled", case, "schedule of last.ckpt: x")
    assert known_reason("hand_rolled", case, "weights of last.ckpt: x") is None
    assert known_reason("fabric", case, "schedule of last.ckpt: x") is None


@needs("fastai")
def test_the_table_for_a_person(woof: Woof, drawn_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("woof_lightning.parity.STEPS_PER_EPOCH", 1)
    outcome = woof(
        *("loop", "--check", "--arms", "fabric", "fastai", "--experiments", "sgd_onecycle"),
        *("--precision", "bf16-mixed", "--data_root", drawn_root),
    )
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert len(lines) == 4
    assert lines[0].split()[0] == "fabric"
    assert lines[0].endswith("equal")
    assert "not offered" in lines[1]
    assert all("resumed at epoch 1  " in line for line in lines[2:])
    assert [p.name for p in Path().iterdir()] == []
