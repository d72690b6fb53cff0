"""Decoded images are kept: once for each state of the files, only where there is room, and with the same batches."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
import torch

from tests.conftest import Woof
from woof_lightning.data import cache
from woof_lightning.data.cache import cache_file, cache_folder, clear_cache, keep_decoded, opened
from woof_lightning.data.checking import check_images
from woof_lightning.data.config import DataConfig
from woof_lightning.data.decoded import decoded_bytes, write_decoded
from woof_lightning.data.decoding import read_image
from woof_lightning.data.images import ImageIndex, index_folder
from woof_lightning.data.imagewoof import prepare_checked_data
from woof_lightning.data.loading import Batch, train_loader, val_loader
from woof_lightning.data.temporary import alone_at
from woof_lightning.errors import UserError

Disk = namedtuple("Disk", "total used free")
SETTINGS = DataConfig(image_size=32, batch_size=5, eval_batch_size=3, num_workers=0, cache="auto")
OFF, DISK = replace(SETTINGS, cache="off"), replace(SETTINGS, cache="disk")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def index(small_folder: Path) -> ImageIndex:
    return index_folder(small_folder)


def keep(index: ImageIndex, config: DataConfig = SETTINGS) -> None:
    keep_decoded(index, config, check_images(index).pixels)


def free_mb(monkeypatch: pytest.MonkeyPatch, free_mb: float) -> None:
    """Makes the disk have so much room."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(0, 0, int(free_mb * 1e6)))


def batches(index: ImageIndex, config: DataConfig, epoch: int) -> list[Batch]:
    decoded = opened(index, config)
    loader = train_loader(index, config, seed=3, decoded=decoded)
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    val = val_loader(index, config, decoded=decoded)
    return [*loader, *val, *val]


def test_every_image_is_there_training_images_first(index: ImageIndex) -> None:
    keep(index)
    found = opened(index, SETTINGS)
    assert found is not None
    for place, sample in enumerate((*index.train, *index.val)):
        assert torch.equal(found.read(place), read_image(index.root / sample.path))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_with_and_without(index: ImageIndex, workers: int) -> None:
    without = [batches(index, replace(OFF, num_workers=workers), epoch) for epoch in (0, 1)]
    keep(index)
    kept = [batches(index, replace(SETTINGS, num_workers=workers), epoch) for epoch in (0, 1)]
    for one, other in zip(chain(*without), chain(*kept), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
        assert one[0].stride() == other[0].stride()
        assert one[0].is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(kept[0][0][0], kept[1][0][0])


def test_the_images_of_a_loader_are_those_of_the_cache(index: ImageIndex) -> None:
    keep(index)
    for sample in (*index.train, *index.val):
        file = index.root / sample.path
        times = file.stat()
        file.write_bytes(b"x" * sample.size_bytes)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    batches(index, SETTINGS, 0)
    with pytest.raises(UserError, match="cannot be decoded"):
        batches(index, OFF, 0)


def test_off_writes_nothing(index: ImageIndex) -> None:
    keep(index, OFF)
    assert not cache_folder().exists()
    keep(index)
    assert opened(index, OFF) is None


def test_a_second_run_does_not_decode_again(index: ImageIndex) -> None:
    keep(index)
    before = cache_file(index).stat().st_mtime_ns
    keep(index)
    keep(index_folder(index.root), DISK)
    assert cache_file(index).stat().st_mtime_ns == before


def test_two_runs_at_once_decode_once(index: ImageIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run waits for the lock, and finds the file that the first one has written meanwhile."""
    pixels = check_images(index).pixels

    @contextmanager
    def while_another_writes(file: Path) -> Iterator[None]:
        with alone_at(file):
            write_decoded(file, index.paths, len(index.train) + len(index.val))
            yield

    monkeypatch.setattr(cache, "alone_at", while_another_writes)
    monkeypatch.setattr(cache, "write_decoded", lambda *_: pytest.fail("written twice"))
    keep_decoded(index, SETTINGS, pixels)
    assert opened(index, SETTINGS) is not None


def test_a_changed_image_is_decoded_again_and_the_old_file_goes(index: ImageIndex) -> None:
    keep(index)
    old = cache_file(index)
    changed = index.root / index.val[1].path
    shutil.copyfile(index.root / index.val[0].path, changed)
    os.utime(changed, ns=(1, 1))
    now = index_folder(index.root)
    assert opened(now, SETTINGS) is None
    keep(now)
    found = opened(now, SETTINGS)
    assert found is not None
    assert torch.equal(found.read(len(now.train) + 1), read_image(changed))
    assert not old.exists()


def test_an_old_file_that_windows_does_not_remove_is_in_nobody_s_way(
    index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(index)
    old, unlink = cache_file(index), Path.unlink
    os.utime(index.root / index.val[0].path, ns=(1, 1))
    now = index_folder(index.root)

    def refused(file: Path, missing_ok: bool = False) -> None:
        if file == old:
            raise PermissionError(errno.EACCES, "another run has it open", str(file))
        unlink(file, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    keep(now, DISK)
    assert opened(now, DISK) is not None
    assert old.exists()


def test_the_files_of_other_data_sets_stay(index: ImageIndex, drawn_index: ImageIndex) -> None:
    keep(index)
    keep(drawn_index)
    assert opened(index, SETTINGS) is not None
    assert opened(drawn_index, SETTINGS) is not None


def test_another_decoder_decodes_again(index: ImageIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    files = set()
    for name in ("none of them", "torchvision", "pillow", "numpy"):
        with monkeypatch.context() as patch:
            patch.setattr(metadata, "version", lambda asked, name=name: "0" if asked == name else "1")
            files.add(cache_file(index))
    assert len(files) == 4


def test_a_file_with_another_number_of_images_is_not_used(index: ImageIndex) -> None:
    paths = list(index.paths)
    cache_file(index).parent.mkdir(parents=True)
    write_decoded(cache_file(index), paths[:-1], len(paths) - 1)
    assert opened(index, SETTINGS) is None


def test_a_damaged_file_is_written_again(index: ImageIndex) -> None:
    keep(index)
    os.truncate(cache_file(index), 50)
    assert opened(index, SETTINGS) is None
    keep(index)
    assert opened(index, SETTINGS) is not None


@pytest.mark.parametrize("times", [0.99, 1.99])
def test_auto_leaves_half_of_the_disk(
    index: ImageIndex, times: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needed_mb = 24 * 128 * 128 * 3 / 1e6
    free_mb(monkeypatch, needed_mb * times)
    keep(index)
    assert opened(index, SETTINGS) is None
    told = capsys.readouterr().err
    assert f"{needed_mb:,.0f} MB" in told
    assert f"{needed_mb * times:,.0f} MB free" in told
    free_mb(monkeypatch, needed_mb * 2.01)
    keep(index)
    assert opened(index, SETTINGS) is not None


def test_disk_takes_all_the_room_but_no_more(index: ImageIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    needed_mb = 24 * 128 * 128 * 3 / 1e6
    free_mb(monkeypatch, needed_mb * 0.99)
    with pytest.raises(UserError, match=r"data\.cache is disk, but they need .* MB free"):
        keep(index, DISK)
    assert not list(cache_folder().glob("*.pixels"))
    free_mb(monkeypatch, decoded_bytes(24 * 128 * 128, 24) / 1e6)
    keep(index, DISK)
    assert opened(index, DISK) is not None


def test_a_cache_folder_that_cannot_be_made(
    index: ImageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "blocked").write_text("a file", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "blocked"))
    keep(index)
    assert "decoded anew in each epoch" in capsys.readouterr().err
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        keep(index, DISK)


def test_a_disk_that_fills_up_leaves_nothing(index: ImageIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Path, *_: object) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write_decoded", full)
    with pytest.raises(UserError, match="No space left"):
        keep(index, DISK)
    keep(index)
    assert [path.name for path in cache_folder().iterdir()] == []


def test_what_a_killed_process_left_is_removed(index: ImageIndex) -> None:
    leftover = cache_folder() / f".{cache_file(index).name}.decoding-abc"
    leftover.mkdir(parents=True)
    keep(index)
    assert not leftover.exists()


def test_preparing_the_data_keeps_them(small_folder: Path) -> None:
    for config, there in ((OFF, False), (SETTINGS, True)):
        index = prepare_checked_data(replace(config, folder=small_folder))
        assert (opened(index, SETTINGS) is not None) == there


def test_clearing_says_what_it_removed(index: ImageIndex) -> None:
    assert clear_cache() == (0, 0)
    keep(index)
    size_bytes = cache_file(index).stat().st_size
    assert clear_cache() == (1, size_bytes)
    assert opened(index, SETTINGS) is None


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_ends_at_damaged_pixels_and_the_next_one_decodes_again(
    workers: int, small_folder: Path, woof: Woof
) -> None:
    call = (
        "fit", "--config", "demo", "--data.folder", str(small_folder), "--data.image_size", "32", "--data.batch_size",
        "4", "--data.num_workers", str(workers), "--trainer.max_epochs", "1", "--name",
    )  # fmt: skip
    assert woof(*call, "whole").code == 0
    file = cache_file(index_folder(small_folder))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    ended = woof(*call, "damaged")
    assert ended.code == 2
    assert f"the decoded images in {file} cannot be used" in ended.err
    assert "Traceback" not in ended.err
    assert woof(*call, "damaged", "--overwrite").code == 0
    whole, again = (
        json.loads(Path(f"runs/{name}/result.json").read_text(encoding="utf-8")) for name in ("whole", "damaged")
    )
    assert again["final"] == whole["final"]
    assert again["loading"] == {"processes": workers, "decoded_before": True}


def test_the_command_that_clears_says_what_it_removed(small_folder: Path, woof: Woof) -> None:
    keep(index_folder(small_folder))
    cleared = woof("data", "--clear_cache")
    assert (cleared.code, cleared.out) == (0, f"{cache_folder()}: removed the decoded images of 1 data sets, 1 MB\n")
    assert not list(cache_folder().glob("*.pixels"))
