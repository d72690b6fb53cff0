"""Silences an advertisement of Lightning, and warnings that are not for users."""

from __future__ import annotations

import logging
import warnings

# Warnings of Lightning 2.6 that have no cause here, as regular expressions, with the reason.
NOT_FOR_USERS = (
    # Lightning itself uses it; torch 2.14 deprecates it.
    "LeafSpec",
    # The datamodule does resume within an epoch. Lightning expects that of loaders with a state_dict only.
    "You're resuming from a checkpoint that ended before the epoch",
    # FitRun checks the run's folder itself.
    "Checkpoint directory .* exists and is not empty",
    # The user sets the number of workers.
    "does not have many workers",
    # Every device validates all images, so their metrics are equal.
    "sync_dist=True",
    # main() takes its arguments as a list, so that tests can call it.
    "LightningCLI's args parameter is intended",
    # It may call configure_model before the net is sharded, and no net is sharded here.
    "You're using the WeightAveraging callback with a model that overrides the configure_model",
    # The metrics of a short epoch are logged at its end.
    "is smaller than the logging interval",
)


# Callbacks and profilers speak if they are asked to: a summary of the model, verbose=True, trainer.profiler.
ASKED_FOR = ("lightning.pytorch.callbacks", "lightning.pytorch.profilers")


def quieten_libraries() -> None:
    """Silences the advertisement and the warnings above, in the whole process. What a user asked for is shown."""
    # Every run prints a tip to install a paid service: https://github.com/Lightning-AI/pytorch-lightning/issues/21294
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for name in ASKED_FOR:
        logging.getLogger(name).setLevel(logging.INFO)
    for text in NOT_FOR_USERS:
        warnings.filterwarnings("ignore", message=f".*{text}")
