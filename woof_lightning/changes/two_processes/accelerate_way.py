"""Trains a net with Hugging Face Accelerate."""

from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from woof_lightning.changes.shared import EPOCHS, Trained, build_net, loaders, run_as_script


class Progress:
    """The number of epochs and steps done, saved with the rest."""

    epoch = step = 0

    def state_dict(self) -> dict[str, int]:
        """Returns both numbers."""
        return {"epoch": self.epoch, "step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Takes both numbers from a checkpoint."""
        self.epoch, self.step = state["epoch"], state["step"]


PROCESSES = 2


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=folder)
    accelerator.init_trackers("events")
    net = build_net()
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    train_loader, val_loader = loaders(batch_size=4)
    net, optimizer, train_loader, val_loader = accelerator.prepare(net, optimizer, train_loader, val_loader)
    progress = Progress()
    accelerator.register_for_checkpointing(scheduler, progress)
    if resume:
        accelerator.load_state(folder / "last")

    for epoch in range(progress.epoch, EPOCHS):
        net.train()
        for images, labels in train_loader:
            loss = F.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            progress.step += 1
            if progress.step % 10 == 0:
                accelerator.log({"train/loss": loss}, progress.step)
        scheduler.step()

        net.eval()
        val_loss = val_hits = torch.tensor(0.0, device=accelerator.device)
        with torch.no_grad():
            for images, labels in val_loader:
                logits, labels = accelerator.gather_for_metrics((net(images), labels))
                val_loss = val_loss + F.cross_entropy(logits, labels) * len(labels)
                val_hits = val_hits + (logits.argmax(1) == labels).sum()
        accelerator.log({"val/loss": val_loss / len(val_loader.dataset)}, progress.step)
        accelerator.log({"val/acc1": val_hits / len(val_loader.dataset)}, progress.step)
        progress.epoch = epoch + 1
        accelerator.save_state(folder / "last")
    accelerator.end_training()
    return {"net": net, "optimizer": optimizer, "scheduler": scheduler}


if __name__ == "__main__":
    run_as_script(train, PROCESSES)
