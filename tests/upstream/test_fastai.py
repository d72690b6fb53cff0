"""Faults of fastai that loops/fastai.py works around: a test fails on the day its fault is fixed."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from tests.upstream.helpers import in_a_process
from tests.ways import NEEDS_PEERS

FastaiCallback: Any = pytest.importorskip("fastai.callback.core", reason=NEEDS_PEERS).Callback
data = pytest.importorskip("fastai.data.core", reason=NEEDS_PEERS)
learners = pytest.importorskip("fastai.learner", reason=NEEDS_PEERS)
optimizers = pytest.importorskip("fastai.optimizer", reason=NEEDS_PEERS)
pytest.importorskip("fastai.callback.progress", reason=NEEDS_PEERS)  # Gives Learner no_bar().
pytest.importorskip("fastai.callback.schedule", reason=NEEDS_PEERS)  # Gives Learner lr_find().
pytestmark = pytest.mark.peer


class Counting(FastaiCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.ended: list[int] = []
        self.rates: list[float] = []

    def after_epoch(self) -> None:
        self.ended.append(self.learn.epoch)

    def before_batch(self) -> None:
        self.rates.append(self.learn.opt.opt.param_groups[0]["lr"])


def fastai_learner(folder: Path, callback: Any = None) -> Any:
    net = torch.nn.Linear(1, 1)
    loader = DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 1), torch.ones(4, 1)), batch_size=4)
    return learners.Learner(
        data.DataLoaders(loader, loader, device=torch.device("cpu")),
        net,
        loss_func=torch.nn.functional.mse_loss,
        opt_func=optimizers.OptimWrapper(opt=torch.optim.SGD(net.parameters(), lr=0.5)),
        cbs=[callback] if callback else [],
        path=folder,
    )


def test_fastai_overwrites_the_rate_and_ends_skipped_epochs(tmp_path: Path) -> None:
    """See Recipe.before_fit and after_epoch in loops/fastai.py."""
    counting = Counting()
    learner = fastai_learner(tmp_path, counting)
    with learner.no_bar(), learner.no_logging():
        learner.fit(3, start_epoch=2)
    assert counting.ended == [0, 1, 2]
    assert set(counting.rates) == {0.001}


def test_a_fastai_learner_outlives_its_use(tmp_path: Path) -> None:
    """See the end of train in loops/fastai.py."""
    learner = fastai_learner(tmp_path)
    loaders = weakref.ref(learner.dls)
    gc.disable()
    try:
        del learner
        assert loaders() is not None
    finally:
        gc.enable()


@pytest.mark.process
def test_fastai_warns_when_it_is_imported() -> None:
    """See import_quietly in loops/ways.py."""
    code = "import fastai.learner, fastai.optimizer, fastai.callback.progress, fastai.data.core"
    done = in_a_process(code)
    assert done.code == 0, done.err
    assert "torch.jit.script" in done.err


def test_fastai_s_finder_moves_the_random_state(tmp_path: Path) -> None:
    """https://github.com/fastai/fastai/issues/3013: the training after it shuffles and drops out otherwise."""
    learner = fastai_learner(tmp_path)
    before = torch.get_rng_state()
    weights = learner.model.weight.detach().clone()
    with learner.no_bar(), learner.no_logging():
        learner.lr_find(num_it=20, show_plot=False)
    assert torch.equal(learner.model.weight, weights), "The net itself is restored."
    assert not torch.equal(torch.get_rng_state(), before)
