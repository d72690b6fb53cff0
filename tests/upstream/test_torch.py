"""Faults of PyTorch that this project works around: a test fails on the day its fault is fixed."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from tests.upstream.helpers import in_a_process


def test_torch_loads_a_damaged_checkpoint(tmp_path: Path) -> None:
    """See zip_problem."""
    torch.save({"weights": torch.zeros(10_000)}, tmp_path / "x.ckpt")
    content = bytearray((tmp_path / "x.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "x.ckpt").write_bytes(content)
    assert torch.load(tmp_path / "x.ckpt")["weights"].count_nonzero() == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no file that is always full")
def test_torch_hides_why_a_file_cannot_be_written() -> None:
    """See write_problem in runs/folder.py, which takes a RuntimeError too."""
    full = Path("/dev/full").open("wb")  # noqa: SIM115  Its end fails as well.
    with pytest.raises(RuntimeError):
        torch.save({"weights": torch.zeros(100_000)}, full)
    with suppress(OSError):
        full.close()


def test_the_post_s_accuracy_cannot_be_computed() -> None:
    """docs/hand-rolled-and-lightning.md: why the post's loop uses the recipe's metrics and not its own."""
    correct = torch.zeros(4, 5, dtype=torch.bool).t()
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        correct[:5].view(-1)


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bf16")
def test_bf16_gradients_of_a_stride_over_one_pixel_are_random() -> None:
    """docs/limits.md: nets whose last stage sees one pixel learn nothing in bf16 on a CPU.

    Not reported before, as far as its issues can be searched.
    """
    images, weights = torch.randn(4, 64, 1, 1), torch.randn(512, 64, 3, 3)

    def gradient() -> torch.Tensor:
        # What the memory holds that the gradient takes next.
        torch.full_like(weights, torch.rand(1).item())
        net = torch.nn.Conv2d(64, 512, 3, stride=2, padding=1, bias=False)
        net.weight.data = weights.clone()
        with torch.autocast("cpu", torch.bfloat16):
            loss = net(images).float().square().sum()
        loss.backward()
        assert net.weight.grad is not None
        return net.weight.grad

    first = gradient()
    assert not all(torch.equal(gradient(), first) for _ in range(10))


@pytest.mark.process
@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="this system has no SIGCHLD")
def test_pytorch_tells_a_death_anywhere() -> None:
    """https://github.com/pytorch/pytorch/pull/3474; if this fails, DeathReportedWhileWaiting can be removed."""
    code = (
        "from tests.data.test_workers import die_while_busy, loader\n"
        "batches = iter(loader())\n"
        "next(batches)\n"
        "try:\n"
        "    die_while_busy(batches)\n"
        "except RuntimeError as error:\n"
        "    print('reported while busy')\n"
    )
    done = in_a_process(code)
    assert "reported while busy" in done.out, done.err


def test_a_schedule_made_after_its_optimizer_was_loaded_loses_the_rate() -> None:
    """https://github.com/pytorch/pytorch/issues/119168, closed with a warning in the documentation, and 156846."""

    def parts(optimizer_state: Any = None, schedule_state: Any = None) -> tuple[torch.optim.Optimizer, LRScheduler]:
        optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), 0.1)
        if optimizer_state:
            optimizer.load_state_dict(optimizer_state)
        schedule = OneCycleLR(optimizer, 0.1, total_steps=10)
        if schedule_state:
            schedule.load_state_dict(schedule_state)
        return optimizer, schedule

    optimizer, schedule = parts()
    for _ in range(3):
        optimizer.step()
        schedule.step()
    resumed, resumed_schedule = parts(optimizer.state_dict(), schedule.state_dict())
    assert resumed_schedule.get_last_lr() == schedule.get_last_lr()
    assert resumed.param_groups[0]["lr"] == pytest.approx(0.1 / 25) != schedule.get_last_lr()[0]


def test_a_save_that_fails_spoils_the_file_before_it(tmp_path: Path) -> None:
    """https://github.com/pytorch/pytorch/issues/48243."""
    torch.save({"weights": torch.zeros(4)}, tmp_path / "x.ckpt")
    with pytest.raises(Exception, match="pickle"):
        torch.save({"weights": torch.zeros(4), "unpicklable": lambda: None}, tmp_path / "x.ckpt")
    with pytest.raises(RuntimeError):
        torch.load(tmp_path / "x.ckpt")


def test_torch_has_no_synchronised_batchnorm_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """See check_several in lit/devices.py."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with pytest.raises(ValueError, match="expected input tensor to be on GPU"):
        torch.nn.SyncBatchNorm(2).train()(torch.zeros(2, 2))
