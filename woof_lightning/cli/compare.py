"""`woof compare`."""

from __future__ import annotations

from collections.abc import Sequence

from woof_lightning.cli.options import path_of, small_parser
from woof_lightning.compare.comparison import compare


def run(args: Sequence[str]) -> None:
    """Compares runs.

    Args:
        args: The options.

    Raises:
        UserError: For everything that the user can fix.
    """
    parser = small_parser("compare")
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", type=path_of, help="the folder of a run, or one that contains runs"
    )
    parser.add_argument("--out", type=path_of, help="folder for tables, figures and index.html")
    options = parser.parse_args(args)
    found = compare(options.runs, options.out)
    print("\n\n".join(found.lines()))
    if options.out is not None:
        print(f"page, tables and figures: {options.out / 'index.html'}")
