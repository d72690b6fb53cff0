"""`woof fit`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from woof_lightning.cli.lightning_cli import FIT, run_cli
from woof_lightning.lit.quiet import quieten_libraries
from woof_lightning.resources import prepare_to_compute


def run(args: Sequence[str]) -> None:
    """Trains with Lightning.

    Args:
        args: The options.

    Raises:
        UserError: For everything that the user can fix.
    """
    quieten_libraries()
    prepare_to_compute()
    with ExitStack() as held:
        run_cli(FIT, args, held)
