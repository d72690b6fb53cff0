"""Trains a net with Lightning. by_hand.py is the same training."""

import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR


class Classifier(LightningModule):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return F.cross_entropy(self.net(images), labels)

    def configure_optimizers(self):
        optimizer = AdamW(self.parameters(), lr=0.001)
        schedule = OneCycleLR(optimizer, 0.001, self.trainer.estimated_stepping_batches)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def train(net, loader, epochs):
    Trainer(max_epochs=epochs).fit(Classifier(net), loader)
