"""The loop goes to Lightning's Trainer; what is trained goes to a LightningModule."""

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
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


class Classifier(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = resnet18(num_classes=10)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return F.cross_entropy(self.net(images), labels)

    def configure_optimizers(self):
        optimizer = AdamW(self.parameters(), lr=0.001)
        schedule = OneCycleLR(optimizer, 0.005, self.trainer.estimated_stepping_batches)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def train(folder):
    torch.manual_seed(0)
    module = Classifier()
    train_loader, val_loader = loaders(folder)
    trainer = Trainer(max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(module, train_loader)
    return accuracy(module.net, val_loader)


if __name__ == "__main__":
    print(f"top-1 {train('data/synthetic'):.3f}")
