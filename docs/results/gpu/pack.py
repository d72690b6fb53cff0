"""Packs what a GPU machine without a network needs, into a folder that git ignores.

python -m docs.results.gpu.pack wheels            # .gpu/wheels, and the commit for the records
python -m docs.results.gpu.pack images FOLDER     # .gpu/images-1/images-1-of-N.tar and so on
python -m docs.results.gpu.pack size              # what there is, and what each call can carry

Each call to the machine carries the repository and one of these folders, at most CARRIED_MIB together.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

from docs.results.gpu.parts import make_parts
from docs.results.gpu.wheels import ROOT, download, lacking, requirements_in
from woof_lightning.runs.record import package_version

PACKED = ROOT / ".gpu"
MIB = 2**20
# What a call carries at most, how large a part may be at most, and what is left free for what grows in between.
CARRIED_MIB, PART_MIB, MARGIN_MIB = 64, 60, 0.5


def main() -> None:
    """Packs what the command line asks for, and prints the sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("wheels", "images", "size"))
    parser.add_argument("folder", nargs="?", type=Path, help="the images: a folder with train/ and val/")
    parser.add_argument("--out", type=Path, default=PACKED, help="where the parts go (.gpu)")
    parser.add_argument("--part_mib", type=float, help="the largest part, in MiB (what a call can carry)")
    args = parser.parse_args()
    if args.what == "wheels":
        pack_wheels(args.out)
    elif args.what == "images":
        if args.folder is None:
            parser.error("images needs FOLDER, with train/ and val/")
        make_parts(args.folder, args.out, int((args.part_mib or part_mib(repository_bytes())) * MIB))
    problems = print_sizes(args.out, repository_bytes())
    if problems:
        raise SystemExit("\n".join(problems))


def pack_wheels(out: Path) -> None:
    """Downloads the wheels and notes the commit.

    Raises:
        SystemExit: If a package needs another one that is neither brought along nor on the machine.
    """
    folder = out / "wheels"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    download(folder)
    if problems := lacking(requirements_in(folder.glob("*.whl"))):
        raise SystemExit("\n".join(problems))
    (folder / "version.txt").write_text(package_version() + "\n", encoding="utf-8")


def repository_bytes() -> int:
    """Returns the size of the files that travel with every call: those that git tracks, and new ones."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(command).decode().split("\0")
    return sum((ROOT / name).stat().st_size for name in names if name and (ROOT / name).is_file())


def part_mib(repository: int) -> float:
    """Returns the largest size of a part in MiB that a call can carry beside the repository.

    Args:
        repository: The size of the repository in bytes.
    """
    return min(PART_MIB, CARRIED_MIB - MARGIN_MIB - repository / MIB)


def print_sizes(out: Path, repository: int) -> list[str]:
    """Prints the size of each folder, and returns one sentence for each that no call can carry.

    Args:
        out: Where the folders are.
        repository: The size of the repository in bytes.
    """
    problems = []
    print(f"{'the repository':<20}{repository / MIB:8.1f} MiB")
    for folder in sorted(place for place in out.glob("*") if place.is_dir()):
        size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"{folder.name:<20}{size_bytes / MIB:8.1f} MiB")
        if size_bytes + repository > CARRIED_MIB * MIB:
            problems.append(f"{folder} and the repository are larger than {CARRIED_MIB} MiB: no call can carry them")
    return problems


if __name__ == "__main__":
    main()
