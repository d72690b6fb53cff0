"""`woof export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from woof_lightning.cli.options import add_checkpoint, check_new_file, path_of, small_parser
from woof_lightning.errors import raise_together
from woof_lightning.export.formats import FORMATS
from woof_lightning.export.write import Exported, export, find_format
from woof_lightning.resources import prepare_to_compute
from woof_lightning.runs.folder import checkpoint_file, folder_of, made_folder


def run(args: Sequence[str]) -> None:
    """Exports a checkpoint.

    Args:
        args: The options.

    Raises:
        UserError: For everything that the user can fix.
    """
    parser = small_parser("export")
    add_checkpoint(parser)
    parser.add_argument("--to", required=True, metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--out", type=path_of, metavar="FILE", help="the file (RUN/export/best.onnx, and so on)")
    parser.add_argument(
        "--preprocess", action="store_true", help="put resize, crop and normalisation into the graph: it takes bytes"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file in --out")
    options = parser.parse_args(args)

    suffixes = find_format(options.to, options.preprocess).suffixes
    file = checkpoint_file(options.ckpt)
    out = options.out or default_file(file, options.to)
    raise_together(check_new_file(out, suffixes, options.overwrite))
    prepare_to_compute()
    with made_folder(out.parent, "--out"):
        print(report(file, export(file, options.to, out, preprocess=options.preprocess)))


def default_file(checkpoint: Path, to: str) -> Path:
    """Returns where an export goes without --out: export/ in the run's folder, or beside a checkpoint without a run.

    Args:
        checkpoint: The checkpoint.
        to: The format.
    """
    suffix = FORMATS[to].suffixes[0]
    # Two formats have the same suffix.
    return folder_of(checkpoint) / "export" / f"{checkpoint.stem}{f'.{to}' if suffix == '.pt' else ''}{suffix}"


def report(checkpoint: Path, exported: Exported) -> str:
    """Returns what the terminal shows of an export."""
    about = exported.about
    versions = {**({"opset": about["opset"]} if "opset" in about else {}), **about["versions"]}
    given, answer = (
        f"{about[side]['name']} [{', '.join(map(str, about[side]['shape']))}], {about[side]['type']}"
        for side in ("input", "output")
    )
    inside = f" (resized to {about['resize_short_side_px']} px, cropped to {about['image_size_px']} px and normalised)"
    sizes_mb = (exported.size_bytes / 1e6, checkpoint.stat().st_size / 1e6)
    return "\n".join(
        [
            f"{exported.file}: {sizes_mb[0]:.3g} MB, of {checkpoint} with {sizes_mb[1]:.3g} MB",
            f"  input     {given}{inside if about['preprocess_in_graph'] else ''}",
            f"  output    {answer}",
            f"  versions  {', '.join(f'{name} {version}' for name, version in versions.items())}",
            f"  checked   probabilities of random images differ by {exported.difference:.1g} from the checkpoint's",
        ]
    )
