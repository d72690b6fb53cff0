"""pytorch-forecasting's TemporalFusionTransformer on drawn series, as its tutorial trains it."""

from __future__ import annotations

from tempfile import mkdtemp
from typing import Any

from lightning.pytorch import Trainer
from pytorch_forecasting import QuantileLoss, TemporalFusionTransformer, TimeSeriesDataSet
from pytorch_forecasting.data.examples import generate_ar_data


def make() -> tuple[Any, Any, Any]:
    """Returns a Trainer, the module, and batches of 64 windows."""
    series = generate_ar_data(seasonality=10.0, timesteps=400, n_series=20, seed=42)
    windows = TimeSeriesDataSet(
        series,
        time_idx="time_idx",
        target="value",
        group_ids=["series"],
        max_encoder_length=24,
        max_prediction_length=6,
        time_varying_unknown_reals=["value"],
    )
    module = TemporalFusionTransformer.from_dataset(
        windows, hidden_size=16, learning_rate=0.01, loss=QuantileLoss(), log_interval=10
    )
    trainer = Trainer(accelerator="cpu", max_epochs=1, gradient_clip_val=0.1, default_root_dir=mkdtemp())
    return trainer, module, windows.to_dataloader(train=True, batch_size=64, num_workers=0)
