"""A training loop by hand."""

import torch
import torch.nn.functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18
from torchvision.transforms import Compose, Resize, ToTensor

EPOCHS = 3


def loaders(folder):
    as_tensor = Compose([Resize((64, 64)), ToTensor()])
    train, val = (ImageFolder(f"{folder}/{split}", as_tensor) for split in ("train", "val"))
    order = torch.Generator().manual_seed(0)
    return DataLoader(train, 32, shuffle=True, generator=order), DataLoader(val, 32)


def accuracy(net, loader):
    net.eval()
    hits = 0
    with torch.no_grad():
        for images, labels in loader:
            hits += (net(images).argmax(1) == labels).sum().item()
    return hits / len(loader.dataset)


def train(folder):
    torch.manual_seed(0)
    net = resnet18(num_classes=10)
    train_loader, val_loader = loaders(folder)
    optimizer = AdamW(net.parameters(), lr=0.001)
    schedule = OneCycleLR(optimizer, 0.005, EPOCHS * len(train_loader))
    for _ in range(EPOCHS):
        net.train()
        for images, labels in train_loader:
            loss = F.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return accuracy(net, val_loader)


if __name__ == "__main__":
    print(f"top-1 {train('data/synthetic'):.3f}")
