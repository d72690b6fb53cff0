"""Loops in several processes, on a small net and small images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lit.several import CONFIGS, free_port, torchrun_variables
from tests.processes import Ended, Process
from woof_lightning.parity import EXPERIMENTS, first_difference
from woof_lightning.runs.folder import RunFolder

FIT = ("fit",)
PATIENCE_S = 20


def words_for(root: Path, experiment: str = "adamw_onecycle") -> list[object]:
    """Options of two epochs of five batches: four of 97 images, which two devices do not share evenly, and one of 92.

    Of the three batches of a validation, the first device has two.
    """
    assert experiment in EXPERIMENTS
    return [
        *("--config", CONFIGS / f"{experiment}.yaml", "--config", CONFIGS / "demo.yaml", "--data.root", root),
        *("--data.image_size", 32, "--data.num_workers", 0, "--data.batch_size", 97, "--data.eval_batch_size", 60),
        *("--model.arch", "shufflenet_v2_x0_5", "--trainer.accelerator", "cpu", "--trainer.log_every_n_steps", 1),
        *("--trainer.max_epochs", 2, "--name", "run"),
    ]


def run_in(place: Path) -> RunFolder:
    """Returns the run in a folder."""
    return RunFolder(place / "runs" / "run")


def together(
    verb: Sequence[str],
    words: Sequence[Sequence[object]],
    place: Path,
    *,
    code: str | None = None,
    apart: bool = False,
) -> list[Process]:
    """Starts processes that train together, numbered as by torchrun.

    Args:
        verb: What follows `woof`.
        words: The options of each.
        place: Where.
        code: Python that each runs first; it has `rank`.
        apart: Whether each has a folder of its own.
    """
    main = ["-m", "woof_lightning"]
    if code is not None:
        main = ["-c", f"import os, sys\nrank = int(os.environ['RANK'])\n{code}\n{MAIN}"]
    count, found = len(words), []
    usual = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for rank, own in enumerate(words):
        here = place / f"node-{rank}" if apart else place
        here.mkdir(parents=True, exist_ok=True)
        variables: dict[str, Any] = {n: str(value) for n, value in torchrun_variables(rank, count, False).items()}
        found.append(Process([*main, *verb, *own], here, **(variables | usual)))
    return found


MAIN = "from woof_lightning.cli import main\nsys.exit(main(sys.argv[1:]))"


def trained(verb: Sequence[str], words: Sequence[object], place: Path, count: int = 2) -> RunFolder:
    """Trains in several processes to the end and returns the run."""
    ended = [one.wait() for one in together(verb, [[*words, "--trainer.devices", count]] * count, place)]
    assert [one.code for one in ended] == [0] * count, "".join(one.err for one in ended)
    return run_in(place)


def launched(loop: str, words: Sequence[object], place: Path, devices: int = 2) -> Process:
    """Starts `woof loop` as a person does; it starts the processes itself."""
    return Process(["-m", "woof_lightning", "loop", loop, *words, "--trainer.devices", devices], place, fresh=True)


def children_of(process: Process) -> list[int]:
    """Returns the numbers of the processes that a process has started, in their order."""
    return [
        int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
    ]


def has_gone(pid: int) -> bool:
    """Returns whether a process has ended; one that nobody has waited for has, too."""
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"


def becomes(condition: Callable[[], bool]) -> bool:
    """Returns whether a condition comes true soon."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


@contextmanager
def training(loop: str, words: Sequence[object], place: Path) -> Iterator[tuple[Process, list[int]]]:
    """Yields a started training of many epochs, once it has saved, with the numbers of its two processes."""
    process = launched(loop, [*words, "--trainer.max_epochs", 300], place)
    assert process.wait_until(run_in(place).last.exists), process.wait()
    children = children_of(process)
    assert len(children) == 2
    yield process, children
    assert all(becomes(lambda pid=pid: has_gone(pid)) for pid in children), "a process is left"  # type: ignore[misc]


def assert_equal(run: RunFolder, other: RunFolder) -> None:
    """Asserts that two runs are equal to the bit: weights, optimizer, schedule and metrics."""
    difference = first_difference(other, run)
    assert difference is None, difference


def assert_all_ended(ended: Sequence[Ended], codes: Sequence[int]) -> None:
    """Asserts how processes ended, and shows what they said if they ended otherwise."""
    assert [one.code for one in ended] == list(codes), "\n".join(one.err for one in ended)
