"""The command `woof`."""

from woof_lightning.cli.command import main

__all__ = ["main"]
