"""The recipe of adamw_onecycle with cpu.yaml as a plain script: what `woof fit`'s epochs are timed against.

All images are decoded once and kept in memory; there is no logging, no checkpoint and no loader.
Usage: python plain.py DATA_FOLDER EPOCHS. Prints the seconds of each epoch, validation included.
"""

import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms import v2

SIZE_PX, BATCH, EVAL_BATCH, LR = 128, 128, 16, 0.02
SCALE = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255


def load(folder: Path) -> tuple[list[Tensor], Tensor]:
    """All images of a split, and their labels."""
    images, labels = [], []
    for label, name in enumerate(sorted(path.name for path in folder.iterdir())):
        for path in sorted((folder / name).iterdir()):
            images.append(decode_image(read_file(str(path)), mode=ImageReadMode.RGB))
            labels.append(label)
    return images, torch.tensor(labels)


def normalised(images: Tensor) -> Tensor:
    """Float32 in the channels_last layout."""
    return ((images.float() - MEAN) / SCALE).contiguous(memory_format=torch.channels_last)


def main(root: Path, epochs: int) -> None:
    """Trains and prints one line an epoch."""
    torch.manual_seed(0)
    (train, train_labels), (val_images, val_labels) = load(root / "train"), load(root / "val")
    augment = v2.Compose([v2.RandomResizedCrop(SIZE_PX, antialias=True), v2.RandomHorizontalFlip()])
    crop = v2.Compose([v2.Resize(146, antialias=True), v2.CenterCrop(SIZE_PX)])
    val = torch.stack([crop(image) for image in val_images])
    net = torchvision.models.resnet18(num_classes=10).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=1e-4)
    steps = -(-len(train) // BATCH) * epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    for epoch in range(epochs):
        start_s = time.perf_counter()
        net.train()
        for places in torch.randperm(len(train)).split(BATCH):
            images = normalised(torch.stack([augment(train[place]) for place in places.tolist()]))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(net(images), train_labels[places])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        net.eval()
        hits = 0
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            for images, labels in zip(val.split(EVAL_BATCH), val_labels.split(EVAL_BATCH), strict=True):
                hits += int((net(normalised(images)).argmax(1) == labels).sum())
        print(f"epoch {epoch + 1}: {time.perf_counter() - start_s:.1f} s, top-1 {hits / len(val):.4f}", flush=True)


main(Path(sys.argv[1]), int(sys.argv[2]))
