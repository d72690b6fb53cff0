"""neuralforecast's NHITS on drawn series, as its tutorial trains it; a script."""

from __future__ import annotations

from neuralforecast import NeuralForecast
from neuralforecast.models import NHITS
from neuralforecast.utils import generate_series

series = generate_series(n_series=32, freq="D", min_length=400, max_length=400, seed=0)
NeuralForecast(models=[NHITS(h=12, input_size=48, max_steps=1000, accelerator="cpu")], freq="D").fit(df=series)
