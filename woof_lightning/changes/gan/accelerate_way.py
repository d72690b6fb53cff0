"""Trains a net with Hugging Face Accelerate."""

from pathlib import Path

import torch
from accelerate import Accelerator
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from woof_lightning.changes.shared import (
    EPOCHS,
    Trained,
    build_critic,
    build_generator,
    draw_noise,
    loaders,
    realness_loss,
    run_as_script,
)


class Progress:
    """The number of epochs and steps done, saved with the rest."""

    epoch = step = 0

    def state_dict(self) -> dict[str, int]:
        """Returns both numbers."""
        return {"epoch": self.epoch, "step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Takes both numbers from a checkpoint."""
        self.epoch, self.step = state["epoch"], state["step"]


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=folder)
    accelerator.init_trackers("events")
    generator, critic = build_generator(), build_critic()
    optimizer = SGD(generator.parameters(), lr=0.1, momentum=0.9)
    critic_optimizer = SGD(critic.parameters(), lr=0.1, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    critic_scheduler = StepLR(critic_optimizer, step_size=1, gamma=0.5)
    train_loader, val_loader = loaders()
    generator, optimizer = accelerator.prepare(generator, optimizer)
    critic, critic_optimizer = accelerator.prepare(critic, critic_optimizer)
    train_loader, val_loader = accelerator.prepare(train_loader, val_loader)
    progress = Progress()
    accelerator.register_for_checkpointing(scheduler, critic_scheduler, progress)
    if resume:
        accelerator.load_state(folder / "last")

    for epoch in range(progress.epoch, EPOCHS):
        generator.train()
        critic.train()
        for images, _ in train_loader:
            fakes = generator(draw_noise(len(images), progress.step).to(accelerator.device))
            critic_loss = realness_loss(critic(images), 1) + realness_loss(critic(fakes.detach()), 0)
            critic_optimizer.zero_grad()
            accelerator.backward(critic_loss)
            critic_optimizer.step()
            loss = realness_loss(critic(fakes), 1)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            progress.step += 1
            if progress.step % 10 == 0:
                accelerator.log({"train/loss": loss}, progress.step)
                accelerator.log({"train/critic_loss": critic_loss}, progress.step)
        scheduler.step()
        critic_scheduler.step()

        critic.eval()
        val_loss = torch.tensor(0.0, device=accelerator.device)
        with torch.no_grad():
            for images, _ in val_loader:
                val_loss = val_loss + realness_loss(critic(images), 1) * len(images)
        accelerator.log({"val/loss": val_loss / len(val_loader.dataset)}, progress.step)
        progress.epoch = epoch + 1
        accelerator.save_state(folder / "last")
    accelerator.end_training()
    return {
        "net": generator,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "critic": critic,
        "critic_optimizer": critic_optimizer,
        "critic_scheduler": critic_scheduler,
    }


if __name__ == "__main__":
    run_as_script(train)
