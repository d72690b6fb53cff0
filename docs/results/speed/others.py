"""The data paths and loops of other projects' training scripts, each on the installed library, as their scripts set it.

Each is a short rendering of a script, not the script itself. The augmentation is the same in all: a random resized crop
and a flip. Net, optimizer, batch size and precision are the same, too. Each loads with one process per core.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from docs.results.speed.job import BATCH_SIZE, RATE, Job
from woof_lightning.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from woof_lightning.resources import usable_cores

ALL = -1


def torchvision_batches(job: Job, processes: int = ALL) -> DataLoader[Any]:
    """The loader of references/classification/train.py: Pillow decodes and augments, floats are stacked."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transform = v2.Compose(
        [
            v2.RandomResizedCrop(job.size_px, antialias=True),
            v2.RandomHorizontalFlip(0.5),
            v2.PILToTensor(),
            v2.ToDtype(torch.float, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            v2.ToPureTensor(),
        ]
    )
    images = ImageFolder(Path(job.folder, "train"), transform)
    return DataLoader(images, BATCH_SIZE, shuffle=True, num_workers=processes_of(processes), pin_memory=True)


def train_torchvision(job: Job, net: nn.Module, _: Callable[[], None]) -> None:
    """The loop of references/classification/train.py: train_one_epoch, with its meters after each step."""
    net.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.AdamW(net.parameters(), RATE)
    meters: dict[str, list[float]] = {"loss": [], "acc1": [], "acc5": []}
    net.train()
    for step, (images, labels) in enumerate(torchvision_batches(job), start=1):
        with job.autocast():
            logits = net(images)
            loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        hits = logits.topk(5, 1).indices == labels[:, None]
        meters["acc1"].append(hits[:, :1].float().sum().item() * 100 / len(labels))
        meters["acc5"].append(hits.float().sum().item() * 100 / len(labels))
        meters["loss"].append(loss.item())
        if step == job.all_steps:
            return


def timm_batches(job: Job, processes: int = ALL) -> Any:
    """The loader of timm's train.py: Pillow decodes and augments, bytes are stacked, its PrefetchLoader normalises."""
    from timm.data import create_dataset, create_loader

    images = create_dataset("", root=job.folder, split="train", is_training=True)
    return create_loader(
        images,
        (3, job.size_px, job.size_px),
        BATCH_SIZE,
        is_training=True,
        color_jitter=None,
        auto_augment=None,
        interpolation="bilinear",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        num_workers=processes_of(processes),
        pin_memory=False,
        device=torch.device("cpu"),
        persistent_workers=processes != 0,
    )


def train_timm(job: Job, net: nn.Module, _: Callable[[], None]) -> None:
    """The loop of timm's train.py with --channels-last: train_one_epoch with its optimizer and its running loss."""
    from timm.optim import create_optimizer_v2
    from timm.utils import AverageMeter

    optimizer = create_optimizer_v2(net, opt="adamw", lr=RATE, weight_decay=1e-2)
    losses = AverageMeter()
    net.train()
    for step, (images, labels) in enumerate(timm_batches(job), start=1):
        images = images.contiguous(memory_format=torch.channels_last)
        with job.autocast():
            loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.update(loss.item() * 1, len(labels))
        if step == job.all_steps:
            return


def fastai_loaders(job: Job, processes: int = ALL) -> Any:
    """The loaders of ImageDataLoaders: Pillow decodes and crops, batches are flipped and normalised."""
    from fastai.vision.all import Flip, ImageDataLoaders, Normalize, RandomResizedCrop

    return ImageDataLoaders.from_folder(
        job.folder,
        train="train",
        valid="val",
        bs=BATCH_SIZE,
        item_tfms=RandomResizedCrop(job.size_px, min_scale=0.08),
        batch_tfms=[Flip(), Normalize.from_stats(IMAGENET_MEAN, IMAGENET_STD)],
        num_workers=processes_of(processes),
        device=torch.device("cpu"),
    )


def fastai_batches(job: Job, processes: int = ALL) -> Any:
    """The training batches of fastai_loaders."""
    return fastai_loaders(job, processes).train


def train_fastai(job: Job, net: nn.Module, step_done: Callable[[], None]) -> None:
    """A Learner with fit_one_cycle, as in fastai's documentation; it trains in fp32 on a CPU."""
    from fastai.callback.core import Callback, CancelFitException
    from fastai.vision.all import Learner, accuracy

    class Clock(Callback):  # type: ignore[misc]
        def after_step(self) -> None:
            step_done()
            if self.train_iter + 1 == job.all_steps:
                raise CancelFitException

    net.to(memory_format=torch.contiguous_format)
    learner = Learner(fastai_loaders(job), net, F.cross_entropy, metrics=accuracy, lr=RATE, cbs=[Clock()])
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(1)


def processes_of(processes: int) -> int:
    """Returns the number of loading processes: one per core unless another number is given."""
    return usable_cores() if processes == ALL else processes
