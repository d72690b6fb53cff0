"""Lightning without its advertisement and other people's warnings."""

from __future__ import annotations

import logging
import warnings

# What Lightning 2.6 warns of without cause here, as regular expressions.
NOT_FOR_USERS = (
    # Lightning itself calls what torch 2.14 deprecates.
    "LeafSpec",
    # Within an epoch the datamodule goes on where it was cut, which Lightning takes from a loader's state_dict alone.
    "You're resuming from a checkpoint that ended before the epoch",
    # The run's folder is looked at before it is taken.
    "Checkpoint directory .* exists and is not empty",
    # Advice on the number of workers, which the settings decide.
    "does not have many workers",
    # Every device validates all images.
    "sync_dist=True",
    # main() takes its arguments as a list, so that tests can call it.
    "LightningCLI's args parameter is intended",
    # A short epoch is reported at its end.
    "is smaller than the logging interval",
)


def quieten_libraries() -> None:
    """Silences an advertisement and a deprecation that a user can do nothing about."""
    # https://github.com/Lightning-AI/pytorch-lightning/issues/21294: a tip to install a paid service, in every run.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for text in NOT_FOR_USERS:
        warnings.filterwarnings("ignore", message=f".*{text}")
