"""The Trainer validates after each epoch, too, and writes what is logged."""

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18
from torchvision.transforms import Compose, Resize, ToTensor

EPOCHS = 3


def loaders(folder):
    as_tensor = Compose([Resize((64, 64)), ToTensor()])
    train, val = (ImageFolder(f"{folder}/{split}", as_tensor) for split in ("train", "val"))
    order = torch.Generator().manual_seed(0)
    return DataLoader(train, 32, shuffle=True, generator=order), DataLoader(val, 32)


class Classifier(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = resnet18(num_classes=10)
        self.accuracy = MulticlassAccuracy(10, average="micro")

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = F.cross_entropy(self.net(images), labels)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        images, labels = batch
        self.accuracy(self.net(images), labels)
        self.log("val/acc1", self.accuracy)

    def configure_optimizers(self):
        optimizer = AdamW(self.parameters(), lr=0.001)
        schedule = OneCycleLR(optimizer, 0.005, self.trainer.estimated_stepping_batches)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def train(folder):
    torch.manual_seed(0)
    module = Classifier()
    train_loader, val_loader = loaders(folder)
    logger = TensorBoardLogger("runs", name="start")
    options = {"logger": logger, "log_every_n_steps": 10, "enable_checkpointing": False}
    trainer = Trainer(max_epochs=EPOCHS, accelerator="cpu", **options)
    trainer.fit(module, train_loader, val_loader)
    return trainer.callback_metrics["val/acc1"].item()


if __name__ == "__main__":
    print(f"top-1 {train('data/synthetic'):.3f}")
