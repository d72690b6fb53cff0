"""pytorch-tabular's CategoryEmbeddingModel on a drawn table, as its tutorial trains it; a script."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pytorch_tabular import TabularModel
from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig
from pytorch_tabular.models import CategoryEmbeddingModelConfig

drawn = np.random.default_rng(0)
columns = [f"x{number}" for number in range(10)]
table = pd.DataFrame(drawn.normal(size=(20_000, 10)), columns=columns)
table["label"] = (table["x0"] + table["x1"] > 0).astype(str)
TabularModel(
    data_config=DataConfig(target=["label"], continuous_cols=columns),
    model_config=CategoryEmbeddingModelConfig(task="classification", layers="64-32"),
    optimizer_config=OptimizerConfig(),
    trainer_config=TrainerConfig(batch_size=256, max_epochs=1, accelerator="cpu", load_best=False),
).fit(train=table)
