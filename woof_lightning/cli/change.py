"""`woof change`."""

from __future__ import annotations

import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from woof_lightning.changes.find import BASE, PACKAGES, Change, change_named, changes, gallery
from woof_lightning.changes.show import beside, diff_of
from woof_lightning.cli.options import both_given, path_of, small_parser
from woof_lightning.errors import UserError, did_you_mean, raise_together

STAR = " *"


def run(args: Sequence[str]) -> None:
    """Lists changes, shows how each way makes them, and proves that the ways agree.

    Args:
        args: The options.

    Raises:
        UserError: If an option cannot be used, or ways differ where they should not.
    """
    options = parse(args)
    chosen = [change_named(name) for name in options.changes] or changes()
    if options.count or options.breaking or options.merge:
        measure(chosen, options)
    elif options.check:
        check([*([gallery()[BASE]] if not options.changes else []), *chosen], options.ways)
    elif options.changes:
        width = shutil.get_terminal_size().columns
        for change in chosen:
            print(shown(change, options.ways, width))
    else:
        print(listed(chosen, options.ways))


def parse(args: Sequence[str]) -> Namespace:
    """Returns the options after checking them all.

    Raises:
        UserError: If options cannot be used. The error lists all of them.
    """
    parser = small_parser("change")
    parser.add_argument("changes", nargs="*", metavar="CHANGE", help="the changes to show (a list of all)")
    parser.add_argument("--ways", nargs="+", metavar="WAY", help="the ways to show (all)")
    parser.add_argument("--check", action="store_true", help="train each way and compare it with the one by hand")
    parser.add_argument("--count", action="store_true", help="write what each way takes to write, to counts.csv")
    parser.add_argument(
        "--break", dest="breaking", action="store_true", help="forget each line in turn, and write what happens"
    )
    parser.add_argument("--merge", action="store_true", help="make two changes at once, and write whether that runs")
    parser.add_argument("--out", type=path_of, default=Path("changes"), help="folder for the rows (changes)")
    parser.add_argument("--resume", action="store_true", help="continue --break in --out")
    parser.add_argument("--overwrite", action="store_true", help="replace the rows in --out")
    options = parser.parse_args(list(args))
    problems = both_given(options, "resume", "overwrite")
    writing = options.count or options.breaking or options.merge
    if options.check and writing:
        problems.append("--check is given with --count, --break or --merge: leave one of them out")
    if options.ways and writing:
        problems.append("--ways is given with --count, --break or --merge: they are for all ways; leave --ways out")
    known = list(dict.fromkeys(way for change in gallery().values() for way in change.cells))
    for way in options.ways or ():
        if way not in known:
            problems.append(f"--ways is {way}; {did_you_mean(way, known, 'expected ' + ' or '.join(known))}")
    raise_together(problems)
    return options


def measure(changes: Sequence[Change], options: Namespace) -> None:
    """Counts or breaks changes and writes the rows.

    Raises:
        UserError: If there are rows already and nothing says what to do with them.
    """
    from woof_lightning.changes import measured
    from woof_lightning.runs.record import machine, versions

    missing = sorted({package for change in changes for cell in change.cells.values() for package in cell.missing})
    if missing:
        raise UserError(f"not installed: {', '.join(missing)}; pip install 'woof-lightning[peers]' brings every way")
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    wanted = {
        measured.COUNTS: options.count,
        measured.BROKEN: options.breaking,
        measured.PAIRS: options.merge,
        measured.JUDGED: options.merge and not options.changes,
    }
    files = [out / name for name, is_wanted in wanted.items() if is_wanted]
    for file in files:
        if file.exists() and options.overwrite:
            file.unlink()
        elif file.exists() and not (options.resume and file.name == measured.BROKEN):
            raise UserError(
                f"--out: {file} is there already; continue it with --resume (--break), or replace it with --overwrite"
            )
    if options.count:
        measured.write_counts(changes, out / measured.COUNTS)
    if options.breaking:
        ready_to_train()
        measured.break_all(changes, out / measured.BROKEN)
    if options.merge:
        ready_to_train()
        measured.write_pairs(changes, out / measured.PAIRS)
        if not options.changes:
            measured.write_judged(out / measured.JUDGED)
    words = [
        *options.changes,
        *["--count"] * options.count,
        *["--break"] * options.breaking,
        *["--merge"] * options.merge,
    ]
    libraries = versions(("accelerate", "pytorch-ignite", "fastai"))
    command = " ".join(["woof change", *words])
    measured.note_conditions(out, command, [file.name for file in files], libraries, machine(1))
    print(f"rows: {', '.join(map(str, files))}")


def listed(changes: Sequence[Change], ways: Sequence[str] | None) -> str:
    """Returns a table of logical lines added and removed, a row for each change and a column for each way."""
    columns = [way for way in ways or PACKAGES if any(change.road(way) for change in changes)]
    rows = [["", *columns], *([change.name, *(lines_of(change, way) for way in columns)] for change in changes)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(["logical lines added and removed; woof change NAME shows them", "", *table, *notes_on(rows)])


def lines_of(change: Change, way: str) -> str:
    """Returns the logical lines that a way adds and removes, with a star if its first road does not lead there."""
    from woof_lightning.changes.count import changed_lines

    cell = change.road(way) if way in PACKAGES else change.cells.get(way)
    if cell is None:
        return "not offered" if way in change.not_offered else ""
    added, removed, _ = changed_lines(cell)
    return f"+{len(added)} -{len(removed)}{'' if cell.way == way else STAR}"


def notes_on(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns what the star in a table means, if there is one."""
    starred = any(cell.endswith(STAR) for row in rows for cell in row)
    return ["", f"{STAR.strip()} by manual optimization, to which Lightning's documentation sends"] if starred else []


def shown(change: Change, ways: Sequence[str] | None, width: int) -> str:
    """Returns the title of a change and its diffs beside each other."""
    columns = {way: diff_of(cell) for way, cell in change.cells.items() if not ways or way in ways}
    texts = [f"{change.name}: {change.title}", beside(columns, width)]
    for way, told in change.not_offered.items():
        if not ways or way in ways:
            texts.append(f"{way}: not offered. {told['says']} {told['link']}")
    return "\n\n".join(texts) + "\n"


def check(changes: Sequence[Change], ways: Sequence[str] | None) -> None:
    """Trains the cells of changes and prints how they compare with the ones by hand.

    Raises:
        UserError: If a way differs where it should not, or a known difference is gone.
    """
    ready_to_train()
    from woof_lightning.changes.equal import compare

    problems = list[str]()
    cells = [cell for change in changes for cell in change.cells.values()]
    missing = {cell.way: cell.missing for cell in cells if cell.missing and (not ways or cell.way in ways)}
    for way, packages in missing.items():
        print(f"note: {way} is not compared, since {', '.join(packages)} is not installed", file=sys.stderr)
    ways = [
        way for way in dict.fromkeys(cell.way for cell in cells) if way not in missing and (not ways or way in ways)
    ]
    for change in changes:
        with TemporaryDirectory(prefix="woof-change-") as folder:
            for found in compare(change, Path(folder), ways):
                name = f"{change.name} {found.cell.way}"
                bad = [*found.unexplained, *(f"no longer: {text}" for text in found.gone)]
                problems += [f"{name}: {text}" for text in bad]
                print(f"{name:<42}{'DIFFERS' if bad else 'equal' if not found.differences else 'as known'}", flush=True)
                for reason in dict.fromkeys(found.cell.known.values()):
                    kinds = [difference for difference, why in found.cell.known.items() if why == reason]
                    print(f"    {'; '.join(kinds)}: {reason}")
            problems += check_mistakes(change, Path(folder), ways)
    if problems:
        raise UserError("differs from the change by hand, or does so no longer:\n" + "\n".join(problems))


def check_mistakes(change: Change, folder: Path, ways: Sequence[str] | None) -> Iterator[str]:
    """Makes the reported mistakes of a change, prints what happens, and yields what should have happened instead."""
    from woof_lightning.changes.broken import of_mistake

    for number, trap in enumerate(change.traps):
        made = trap.mistake
        if made is not None and (ways is None or made.way in ways):
            found = of_mistake(change.cells[made.way], made, folder / f"mistake-{number}")
            print(f"{change.name} {made.way}, a mistake: {found.outcome} ({found.detail})\n    {trap.says} {trap.link}")
            if found.outcome != made.outcome or not found.detail.startswith(made.detail):
                yield f"{change.name} {made.way}: {trap.link} is {found.outcome}, {found.detail}; not {made.outcome}"


def ready_to_train() -> None:
    """Imports what the programs import, from which each is then forked.

    Raises:
        UserError: If this system cannot fork.
    """
    if not hasattr(os, "fork"):
        raise UserError("--check, --break and --merge need os.fork, which this system lacks: use Linux or macOS")
    from woof_lightning.changes.trial import import_everything

    import_everything()
