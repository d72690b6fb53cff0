"""A LightningModule that costs less per step and loads no damaged checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from typing_extensions import Self

from woof_lightning.runs.folder import checkpoint_file


class LeanModule(LightningModule):
    """Sets its attributes faster, and tests the checksums of a checkpoint."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute; a text without the checks that torch makes for parameters, buffers and modules.

        Lightning notes as a text in which hook a module is, twice for each hook. Torch's checks take 2 us each time.
        """
        own = self.__dict__
        registered = (
            name in own.get("_parameters", ()) or name in own.get("_buffers", ()) or name in own.get("_modules", ())
        )
        if (value is None or isinstance(value, str)) and not registered:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **options: Any) -> Self:
        """Tests the checksums of a checkpoint, which torch does not, and then loads it as every LightningModule does.

        Args:
            checkpoint_path: The file.
            args: As Lightning's.
            options: As Lightning's.

        Raises:
            UserError: If the file is damaged.
        """
        if isinstance(checkpoint_path, (str, Path)) and Path(checkpoint_path).is_file():
            checkpoint_file(Path(checkpoint_path))
        return super().load_from_checkpoint(checkpoint_path, *args, **options)
