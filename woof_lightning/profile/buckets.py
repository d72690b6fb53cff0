"""The names of the spans, and to whom their time belongs."""

from __future__ import annotations

DATA, TRANSFER = "waiting for data", "moving the batch"
TRAINING_STEP, FORWARD, BACKWARD = "training_step", "forward", "backward"
OPTIMIZER, ZERO_GRAD, SCHEDULE, CLIPPING = "optimizer step", "zero_grad", "schedule", "gradient clipping"
LOG, COLLECTED = "self.log", "self.log, collected"
BAR, CHECKPOINT, VALIDATION, TRAINER = "progress bar", "checkpoint", "validation", "Trainer"
PRINT, BAR_VALUES, SEARCH = "print", "progress bar, its values", "search for a driver"
METRIC, CALLBACK, LOGGER, HOOK = "metric ", "callback ", "logger ", "hook "

YOURS, TORCH, DATA_OWNER, FRAMEWORK = "yours", "PyTorch", "data", "Lightning"
OWNERS = {
    TRAINING_STEP: YOURS,
    PRINT: YOURS,
    FORWARD: TORCH,
    BACKWARD: TORCH,
    OPTIMIZER: TORCH,
    ZERO_GRAD: TORCH,
    SCHEDULE: TORCH,
    CLIPPING: TORCH,
    TRANSFER: TORCH,
    DATA: DATA_OWNER,
    VALIDATION: VALIDATION,
}
# Hooks of a LightningModule that have a name of their own.
MODULE_HOOKS = {
    "optimizer_zero_grad": ZERO_GRAD,
    "lr_scheduler_step": SCHEDULE,
    "configure_gradient_clipping": CLIPPING,
    "on_before_batch_transfer": TRANSFER,
    "transfer_batch_to_device": TRANSFER,
    "on_after_batch_transfer": TRANSFER,
    "optimizer_step": TRAINER,
}
STRATEGY_HOOKS = {"training_step": TRAINING_STEP, "backward": BACKWARD, "batch_to_device": TRANSFER}
NEXT_BATCH = "train_dataloader_next"


def bucket_of(action: str, bars: frozenset[str], idle: frozenset[str] = frozenset()) -> str:
    """Returns the name of the span for an action that Lightning names to its profiler.

    Args:
        action: The action, such as `[Callback]ModelCheckpoint{...}.on_train_batch_end`.
        bars: The state keys of the callbacks that are progress bars.
        idle: The actions of hooks that do nothing. They belong to the Trainer, which calls them.
    """
    if action in idle:
        return TRAINER
    kind, _, rest = action.removeprefix("[").partition("]")
    owner, _, hook = rest.rpartition(".")
    if kind == "Callback":
        return BAR if owner in bars else f"{CALLBACK}{owner.partition('{')[0]}.{hook}"
    if kind in ("LightningModule", "LightningDataModule"):
        return MODULE_HOOKS.get(hook, f"{HOOK}{hook}")
    if kind == "Strategy":
        return STRATEGY_HOOKS.get(hook, TRAINER)
    if hook == NEXT_BATCH:
        return DATA
    return CHECKPOINT if action == "save_checkpoint" else TRAINER


def owner_of(bucket: str, own: frozenset[str]) -> str:
    """Returns to whom the time in a span belongs: YOURS, TORCH, DATA_OWNER, VALIDATION or FRAMEWORK.

    Args:
        bucket: The name of the span.
        own: The names of hooks and callbacks that are the user's, a callback's without its hook.
    """
    if bucket.startswith(METRIC) or bucket in own or (bucket.startswith(CALLBACK) and bucket.rpartition(".")[0] in own):
        return YOURS
    return OWNERS.get(bucket, FRAMEWORK)
