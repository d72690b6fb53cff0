"""The settings of the data: defaults, bounds, paths and cores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from woof_lightning.data.config import NOISE_LEVELS_PERCENT, VARIANTS, DataConfig, expanded
from woof_lightning.errors import UserError


@pytest.mark.parametrize("name", ["image_size", "batch_size", "eval_batch_size"])
def test_sizes_begin_at_one(name: str) -> None:
    DataConfig(**{name: 1})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"data.{name} is 0: expected at least 1"):
        DataConfig(**{name: 0})  # type: ignore[arg-type]


def test_workers_begin_at_none() -> None:
    assert DataConfig(num_workers=0).worker_count == 0
    assert DataConfig(num_workers=3).worker_count == 3
    with pytest.raises(UserError, match="data.num_workers is -1: expected 0 or more"):
        DataConfig(num_workers=-1)


def test_every_listed_value_is_taken_and_no_other() -> None:
    for variant in VARIANTS:
        assert DataConfig(variant=variant).variant == variant
    for level in NOISE_LEVELS_PERCENT:
        assert DataConfig(noisy_labels=level).noisy_labels == level
    assert NOISE_LEVELS_PERCENT == (0, 1, 5, 25, 50)
    with pytest.raises(UserError, match="data.variant is '160': expected one of full, 320px, 160px, synthetic"):
        DataConfig(variant="160")
    with pytest.raises(UserError, match="noisy_labels is 2: expected one of the percentages 0, 1, 5, 25, 50"):
        DataConfig(noisy_labels=2)


@pytest.mark.parametrize("name", ["root", "folder", "archive"])
def test_a_tilde_is_the_home_and_other_paths_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    for given, found in (("~/dogs", "/home/somebody/dogs"), ("dogs/~", "dogs/~"), ("/dogs", "/dogs")):
        config = DataConfig(**{name: Path(given)})  # type: ignore[arg-type]
        assert getattr(config, name) == Path(found)
    assert DataConfig().folder is None
    assert expanded("~") == Path("/home/somebody")  # type: ignore[arg-type]


def test_a_home_that_is_not_known_is_told() -> None:
    with pytest.raises(UserError, match="the path ~nobody-of-that-name/x begins with ~"):
        expanded(Path("~nobody-of-that-name/x"))


def test_plain_values_hold_paths_as_text() -> None:
    found: dict[str, Any] = DataConfig(root=Path("a/b"), archive=Path("c.tgz"), pin_memory=True).as_plain()
    assert (found["root"], found["archive"], found["folder"]) == ("a/b", "c.tgz", None)
    assert (found["pin_memory"], found["image_size"], found["batch_size"]) == (True, 224, 128)
    assert DataConfig(**{**found, "root": Path("a/b"), "archive": Path("c.tgz")}) == DataConfig(
        root=Path("a/b"), archive=Path("c.tgz"), pin_memory=True
    )


def test_off_can_be_written_as_yaml_reads_it() -> None:
    assert yaml.safe_load("cache: off") == {"cache": False}
    assert DataConfig(cache=False) == DataConfig(cache="off")
    for cache in (True, "ram", "OFF"):
        with pytest.raises(UserError, match=f"data.cache is {cache!r}: expected one of off, disk, auto"):
            DataConfig(cache=cache)
