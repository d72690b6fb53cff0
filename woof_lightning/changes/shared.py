"""What every program of the gallery trains: a small net on a few drawn images, always in the same order."""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, TensorDataset

EPOCHS, BATCH_SIZE, CLASSES, SIZE_PX = 4, 8, 4, 16
# Eleven batches an epoch: not a multiple of four, so windows of accumulation end in the middle of one. The last
# validation batch has five images, and two processes cannot share 21 images evenly.
TRAIN_IMAGES, VAL_IMAGES = 88, 21

# What a program returns: the objects that it trained, by what they are (net, optimizer, scheduler, ...).
Trained = dict[str, Any]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds PyTorch's generator within the block and puts it back afterwards.

    Args:
        seed: The seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build_net(seed: int = 0) -> nn.Sequential:
    """Returns an untrained net: a backbone with a convolution and BatchNorm, and a linear head.

    Args:
        seed: Seed of its weights.
    """
    with seeded(seed):
        convolution = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        backbone = nn.Sequential(convolution, nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        return nn.Sequential(OrderedDict(backbone=backbone, head=nn.Linear(32, CLASSES)))


def loaders(size_px: int = SIZE_PX, batch_size: int = BATCH_SIZE) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Returns loaders of training and validation batches: images ([B, 3, S, S], float32) and labels ([B], int64).

    They do not shuffle, so every way sees the same batches, also after a resume.

    Args:
        size_px: Side of the square images.
        batch_size: Images per batch.
    """
    train, val = images(TRAIN_IMAGES, 0, size_px), images(VAL_IMAGES, 1, size_px)
    return DataLoader(train, batch_size), DataLoader(val, batch_size)


def images(count: int, seed: int, size_px: int = SIZE_PX) -> TensorDataset:
    """Returns drawn images and their labels: a pattern for each class, and noise.

    Args:
        count: The number of images.
        seed: Seed of the noise.
        size_px: Side of the square images.
    """
    patterns = torch.randn(CLASSES, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(100))
    noise = torch.randn(count, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) % CLASSES
    drawn: Tensor = interpolate(patterns[labels] + 2 * noise, size_px, mode="bilinear")
    return TensorDataset(drawn, labels)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the share of images whose highest logit is that of their label.

    Args:
        logits: [B, C].
        labels: [B], int64.
    """
    return (logits.argmax(1) == labels).float().mean()


def draw_mix(count: int, step: int) -> tuple[Tensor, Tensor]:
    """Draws for mixup the share of the images themselves and the order of those that are mixed in.

    Args:
        count: The number of images.
        step: The number of steps before; the draw depends on it alone, so a resumed training draws the same.
    """
    generator = torch.Generator().manual_seed(step)
    return torch.rand((), generator=generator), torch.randperm(count, generator=generator)


def build_teacher() -> nn.Sequential:
    """Returns a net that stands for a trained one: frozen and in evaluation mode."""
    return build_net(seed=1).eval().requires_grad_(False)


def distillation_loss(logits: Tensor, taught: Tensor) -> Tensor:
    """Returns the cross-entropy between a net's outputs and its teacher's.

    Args:
        logits: The net's, [B, C].
        taught: The teacher's, [B, C].
    """
    return nn.functional.cross_entropy(logits, taught.softmax(1))


def build_generator() -> nn.Sequential:
    """Returns an untrained net that makes images of noise ([B, 8])."""
    with seeded(2):
        return nn.Sequential(nn.Linear(8, 3 * SIZE_PX * SIZE_PX), nn.Tanh(), nn.Unflatten(1, (3, SIZE_PX, SIZE_PX)))


def build_critic() -> nn.Sequential:
    """Returns an untrained net that says how real images look ([B, 1], a logit)."""
    with seeded(3):
        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(392, 1))


def draw_noise(count: int, step: int) -> Tensor:
    """Draws what a generator makes images of: [B, 8].

    Args:
        count: The number of images.
        step: The number of steps before; the draw depends on it alone, so a resumed training draws the same.
    """
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(step))


def realness_loss(logits: Tensor, real: int) -> Tensor:
    """Returns the mean cross-entropy between a critic's answers and the right one.

    Args:
        logits: The answers, [B, 1].
        real: 1 if the images are real or should look so, else 0.
    """
    return nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))


def environment_of(rank: int, processes: int, port: int) -> dict[str, str]:
    """Returns the environment variables that torchrun sets for one of several processes on a machine.

    Args:
        rank: The number of the process, from 0.
        processes: The number of processes.
        port: The port at which the first process waits for the others.
    """
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "gallery",
    }


def free_port() -> int:
    """Returns a port of this machine that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def run_as_script(train: Callable[[Path, bool], Trained], processes: int = 1) -> None:
    """Runs a program of the gallery with the options of the command line.

    Args:
        train: Trains, with its files in a folder; resumes the training there if asked to.
        processes: The number of processes that train together. They are started as torchrun starts them.

    Raises:
        SystemExit: If a process fails.
    """
    parser = argparse.ArgumentParser(description=train.__doc__)
    parser.add_argument("folder", type=Path, help="folder for events and checkpoint")
    parser.add_argument("--resume", action="store_true", help="resume from the checkpoint in the folder")
    options = parser.parse_args()
    if processes > 1 and "RANK" not in os.environ:
        port = free_port()
        started = [
            subprocess.Popen([sys.executable, *sys.argv], env=os.environ | environment_of(rank, processes, port))
            for rank in range(processes)
        ]
        raise SystemExit(max(process.wait() for process in started))
    options.folder.mkdir(parents=True, exist_ok=True)
    train(options.folder, options.resume)
    print(f"trained; events and checkpoint: {options.folder}")
