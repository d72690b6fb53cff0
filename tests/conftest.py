"""Shared fixtures: an empty folder to work in, drawn images, and the command in-process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.ways import skip_without
from woof_lightning.cli import main
from woof_lightning.data import synthetic
from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import ImageIndex, index_folder
from woof_lightning.data.imagewoof import prepare_data

CONFIGS = Path(__file__).parents[1] / "configs"


@dataclass(frozen=True)
class Outcome:
    """What a call of `woof` did."""

    code: int
    out: str
    err: str


Woof = Callable[..., Outcome]


# These files take longest, so that no core should wait for one of them at the end.
LONGEST = ("test_parity.py", "test_faults.py", "test_elsewhere.py", "test_wheel.py", "test_fit.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, where several processes share them."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test whose mark `peer` names a package that is not installed."""
    for mark in item.iter_markers("peer"):
        skip_without(*mark.args)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def drawn_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data.root that holds the synthetic set; the processes of pytest-xdist share one."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "drawn"
    synthetic.draw(root / "synthetic")
    return root


@pytest.fixture(scope="session")
def drawn_index(drawn_root: Path) -> ImageIndex:
    return index_folder(drawn_root / "synthetic")


@pytest.fixture
def small_folder(drawn_root: Path, tmp_path: Path) -> Path:
    """A writable folder of two breeds, eight training and four validation images each."""
    folder = tmp_path / "small"
    for split, count in (("train", 8), ("val", 4)):
        for breed in list(synthetic.BREEDS)[2:4]:
            files = sorted((drawn_root / "synthetic" / split / breed).iterdir())[:count]
            (folder / split / breed).mkdir(parents=True)
            for file in files:
                shutil.copy(file, folder / split / breed)
    return folder


@pytest.fixture
def woof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Woof:
    """Calls `woof` in this process, in an empty folder."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)

    def call(*args: object) -> Outcome:
        capfd.readouterr()
        code = main([str(arg) for arg in args])
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser; the test is skipped if there is none, unless WOOF_BROWSER requires one."""
    found = shutil.which(os.environ.get("WOOF_BROWSER", "chromium"))
    if found is None:
        assert "WOOF_BROWSER" not in os.environ, "WOOF_BROWSER names no program"
        pytest.skip("chromium is not installed")
    return found


@pytest.fixture(scope="session")
def small_fit(drawn_root: Path) -> list[str]:
    """Options of a fit that takes a second: a small net on small images."""
    return [
        *("--config", str(CONFIGS / "adamw_onecycle.yaml"), "--config", str(CONFIGS / "demo.yaml")),
        *("--data.root", str(drawn_root), "--data.image_size", "32", "--data.num_workers", "0"),
        *("--data.batch_size", "8", "--model.arch", "shufflenet_v2_x0_5", "--trainer.accelerator", "cpu"),
        *("--trainer.limit_train_batches", "4", "--trainer.limit_val_batches", "3", "--trainer.log_every_n_steps", "2"),
        *("--trainer.max_epochs", "2"),
    ]


@pytest.fixture(scope="session")
def real_root(real_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data.root that holds the real images."""
    root = tmp_path_factory.mktemp("real")
    prepare_data(DataConfig(root=root, variant="160px", archive=real_archive))
    return root


@pytest.fixture(scope="session")
def real_archive() -> Path:
    """The real archive, where WOOF_ARCHIVE names it."""
    if "WOOF_ARCHIVE" not in os.environ:
        pytest.skip("WOOF_ARCHIVE does not name imagewoof2-160.tgz")
    return Path(os.environ["WOOF_ARCHIVE"])
