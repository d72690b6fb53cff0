"""Lightning without its advertisement and other people's warnings."""

from __future__ import annotations

import logging
import warnings


def quieten_libraries() -> None:
    """Silences an advertisement and a deprecation that a user can do nothing about."""
    # https://github.com/Lightning-AI/pytorch-lightning/issues/21294: a tip to install a paid service, in every run.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    # Lightning 2.6.6 calls what torch 2.14 deprecates.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # Within an epoch the datamodule goes on where it was cut, which Lightning takes from a loader's state_dict alone.
    warnings.filterwarnings("ignore", message=".*You're resuming from a checkpoint that ended before the epoch.*")
    # The run's folder is looked at before it is taken.
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    # Advice on the number of workers, which the settings decide.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Every device validates all images.
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    # main() takes its arguments as a list, so that tests can call it.
    warnings.filterwarnings("ignore", message=".*LightningCLI's args parameter is intended.*")
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
