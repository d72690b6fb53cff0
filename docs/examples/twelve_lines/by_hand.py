"""Trains a net with plain PyTorch. lightning_way.py is the same training."""

import torch.nn.functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR


def train(net, loader, epochs):
    optimizer = AdamW(net.parameters(), lr=0.001)
    schedule = OneCycleLR(optimizer, 0.001, epochs * len(loader))
    net.train()
    for _ in range(epochs):
        for images, labels in loader:
            loss = F.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
