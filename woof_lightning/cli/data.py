"""`woof data`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from woof_lightning.cli.options import add_data_places, check_one_place, small_parser
from woof_lightning.compare.tables import text_table
from woof_lightning.data.cache import cache_folder, clear_cache
from woof_lightning.data.checking import CheckedImages, check_readable, examined, with_pairs
from woof_lightning.data.config import VARIANTS, DataConfig
from woof_lightning.data.images import ImageIndex, class_counts
from woof_lightning.data.imagewoof import data_folder, prepare_data
from woof_lightning.data.notes import tell
from woof_lightning.errors import UserError


def run(args: Sequence[str]) -> None:
    """Gets and checks a data set, or shows what is on disk.

    Args:
        args: The options.

    Raises:
        UserError: For everything that the user can fix.
    """
    parser = small_parser("data")
    add_data_places(parser)
    parser.add_argument(
        "--variant", "--data.variant", help="the data set to get and check: full, 320px, 160px or synthetic"
    )
    parser.add_argument(
        "--noisy_labels", "--data.noisy_labels", type=int, default=0, help="percentage of wrong labels (0)"
    )
    parser.add_argument("--no_download", action="store_true", help="do not download an archive")
    parser.add_argument(
        "--val_share", "--data.val_share", type=float, default=0.2, help="share to validate on, without val/ (0.2)"
    )
    parser.add_argument(
        "--split_seed", "--data.split_seed", type=int, default=0, help="another one assigns images another way (0)"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="list all files that are not used, cannot be read, or are in both splits, however many there are",
    )
    parser.add_argument("--clear_cache", action="store_true", help="remove the decoded images that runs have kept")
    options = parser.parse_args(args)
    if options.clear_cache:
        count, size_bytes = clear_cache()
        print(f"{cache_folder()}: removed the decoded images of {count} data sets, {size_bytes / 1e6:,.0f} MB")
        return
    check_one_place(options, "root", "archive", "variant")
    root = options.root or Path("data")
    if options.variant is None and options.folder is None:
        if options.archive is not None:
            raise UserError(f"--archive is {options.archive}: expected --variant too, the data set that it contains")
        places = {variant: data_folder(DataConfig(root=root, variant=variant)) for variant in VARIANTS}
        there = [(variant, str(place), "yes" if place.is_dir() else "no") for variant, place in places.items()]
        print(text_table(("variant", "folder", "on disk"), there))
        print("get one with: woof data --variant NAME [--archive FILE]")
        return
    index = prepare_data(
        DataConfig(
            root=root,
            variant=options.variant or "synthetic",
            folder=options.folder,
            val_share=options.val_share,
            split_seed=options.split_seed,
            archive=options.archive,
            download=not options.no_download,
            noisy_labels=options.noisy_labels,
        )
    )
    checked = examined(index, complete=options.check)
    if options.check:
        print_check(index, checked)
    check_readable(index, checked)
    index = with_pairs(index, checked)
    counts = {split: class_counts(getattr(index, split), index.classes) for split in ("train", "val")}
    rows = [
        (breed, name, str(counts["train"][name]), str(counts["val"][name]))
        for breed, name in zip(index.breeds, index.classes, strict=True)
    ]
    rows.append(("all", "", str(len(index.train)), str(len(index.val))))
    print(text_table(("name", "class", "train", "val"), rows))
    print(f"{index.root}: every image can be read, the longest side is {checked.longest_side_px} px")
    tell(index)
    print(f"fingerprint {index.fingerprint}")


def print_check(index: ImageIndex, checked: CheckedImages) -> None:
    """Prints each file that is not used, cannot be read, or is in both splits, with the reason.

    Args:
        index: The images.
        checked: What a complete check of them found.
    """
    rows = [
        *((one.path, one.reason) for one in index.passed_over),
        *checked.unreadable.items(),
        *((val, f"the same bytes as {train}, which is trained on") for train, val in checked.in_both or ()),
    ]
    print(text_table(("file", "why"), rows) if rows else "every file is an image, used once")
