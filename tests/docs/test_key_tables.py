"""The tables of keys and verbs: a key is documented where it is defined, and every key is on the page."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from docs.generate.key_tables import call_table, meanings, settings_table, shown, sweep_table, verbs_table
from tests.docs.test_post_tables import cells
from woof_lightning import errors
from woof_lightning.cli import loop
from woof_lightning.cli.lightning_cli import FIT, LR_FIND, known_keys
from woof_lightning.cli.options import VERBS


def page(name: str) -> str:
    return (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8")


@dataclass
class Shape:
    """A settings class.

    Args:
        width_px: Width of a <box>, in
            px | cells.
        depth: Depth. Several `words`.
    """

    width_px: int = 7
    depth: float | None = None


def test_a_key_s_text_and_default_are_those_of_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loop.GROUPS, "shape", Shape)
    assert settings_table(Path("anywhere.py::Shape")).splitlines()[2:] == [
        r"| `shape.width_px` | Width of a \<box>, in px \| cells | 7 |",
        r"| `shape.depth` | Depth. Several \`words\` | null |",
    ]
    with pytest.raises(KeyError, match="Nothing"):
        settings_table(Path("anywhere.py::Nothing"))


def test_defaults_are_written_as_in_a_config() -> None:
    assert [shown(default) for default in (None, True, False, 0, 1e-4, 0.02, Path("data"), "auto")] == [
        *("null", "true", "false", "0", "0.0001", "0.02", "data", "auto"),
    ]


def test_every_key_is_on_the_page_with_its_meaning() -> None:
    rows = [line.strip("|").split(" | ") for line in page("keys.md").splitlines() if "|" in line]
    texts = {key.strip(): row[1] for row in rows for key in re.findall(r"`-*([\w.]+)`", row[0])}
    keys = {*known_keys(FIT), *known_keys(LR_FIND), *loop.known_keys()}
    # --config and the seed are explained in sentences; the Trainer's are Lightning's.
    of_lightning = {key for key in keys - set(loop.known_keys()) if key.startswith("trainer.")}
    assert keys - of_lightning - {"config", "seed_everything"} <= texts.keys()
    assert all(text.strip() for text in texts.values())


def test_an_option_names_the_verbs_that_take_it() -> None:
    taken = {row[0]: (row[2], row[3]) for row in cells(call_table(Path()))}
    assert taken["`--name`"] == ("", "`fit`, `lr-find`, `loop`")
    assert taken["`--runs_dir`"] == ("runs", "`fit`, `lr-find`, `loop`")
    assert taken["`--resume`"] == ("off", "`fit`, `loop`")
    assert taken["`--save_every`"] == ("", "`fit`")
    assert taken["`--json`"] == ("off", "`lr-find`")


def test_the_sweep_s_keys_have_the_defaults_of_lr_find() -> None:
    assert {row[0]: row[2] for row in cells(sweep_table(Path()))} == {
        "`min_lr`": "1e-08",
        "`max_lr`": "10",
        "`num_training`": "50",
        "`early_stop_threshold`": "4",
    }


def test_the_verbs_are_those_of_the_command_and_each_has_a_section() -> None:
    assert [row[0] for row in cells(verbs_table(Path()))] == [f"[`woof {verb}`](#woof-{verb})" for verb in VERBS]
    assert set(re.findall(r"^## woof (.*)", page("verbs.md"), re.MULTILINE)) == set(VERBS)


def test_the_exit_codes_on_the_page_are_those_of_the_command() -> None:
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", page("verbs.md"), re.MULTILINE)]
    of_signals = [errors.SIGNAL_EXIT_CODE + signum for signum in (signal.SIGTERM, 10)]  # 10 is SIGUSR1.
    assert codes == sorted(
        [
            *(0, 1, errors.USER_ERROR_EXIT_CODE, errors.NON_FINITE_EXIT_CODE),
            *(errors.INTERRUPTED_EXIT_CODE, errors.NO_READER_EXIT_CODE, *of_signals),
        ]
    )


def test_a_text_is_one_line() -> None:
    assert meanings(Shape)["width_px"] == "Width of a <box>, in px | cells"
