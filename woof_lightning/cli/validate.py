"""`woof validate`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from woof_lightning.cli.options import add_checkpoint, add_data_places, check_one_place, path_of, small_parser
from woof_lightning.compare.draw import draw_confusion
from woof_lightning.compare.tables import text_table
from woof_lightning.lit.validate import Validation, validate
from woof_lightning.resources import prepare_to_compute
from woof_lightning.runs.folder import checkpoint_file, folder_of, made_folder, write_text_durably


def run(args: Sequence[str]) -> None:
    """Validates a checkpoint.

    Args:
        args: The options.

    Raises:
        UserError: For everything that the user can fix.
    """
    parser = small_parser("validate")
    add_checkpoint(parser)
    add_data_places(parser)
    parser.add_argument("--num_workers", "--data.num_workers", type=int, help="number of loading processes")
    parser.add_argument("--skip_unreadable", action="store_true", help="leave out images that cannot be read")
    parser.add_argument("--accelerator", default="auto", help="auto, cpu, gpu, … as trainer.accelerator")
    parser.add_argument("--out", type=path_of, help="folder for result.json and confusion.png (RUN/validate)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(args)

    check_one_place(options, "root", "archive")
    prepare_to_compute()
    file = checkpoint_file(options.ckpt)
    data = {name: getattr(options, name) for name in ("root", "folder", "archive", "num_workers")}
    data["skip_unreadable"] = options.skip_unreadable or None  # By default as in the run.

    out = options.out or folder_of(file) / "validate"
    with made_folder(out, "--out"):
        found = validate(file, options.accelerator, **{k: v for k, v in data.items() if v is not None})
        text = json.dumps({"checkpoint": str(file), **found.as_dict()}, indent=2)
        write_text_durably(out / "result.json", text + "\n")
        print(text if options.json else results_of(found), flush=True)
        draw_confusion(found.confusion, found.breeds, out / "confusion.png")
    if not options.json:
        print(f"confusion matrix: {out / 'confusion.png'}")


def results_of(found: Validation) -> str:
    """Returns the metrics and the table of classes as text for the terminal."""
    metrics = "  ".join(f"{name} {value:.6g}" for name, value in found.metrics.items())
    rows = [
        (breed, name, str(sum(row)), f"{accuracy:.3f}")
        for breed, name, row, accuracy in zip(
            found.breeds, found.classes, found.confusion, found.class_accuracy(), strict=True
        )
    ]
    return f"{metrics}\n{text_table(('name', 'class', 'images', 'top-1'), rows)}"
