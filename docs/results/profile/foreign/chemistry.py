"""chemprop's MPNN on small molecules, as its notebook trains it."""

from __future__ import annotations

import itertools
from tempfile import mkdtemp
from typing import Any

from chemprop import data, models, nn
from lightning.pytorch import Trainer


def make() -> tuple[Any, Any, Any]:
    """Returns a Trainer, the module, and batches of 64 molecules."""
    chains = ["".join(atoms) for atoms in itertools.product("CCNOCC", repeat=4)]
    points = [data.MoleculeDatapoint.from_smi(smiles, [float(smiles.count("N"))]) for smiles in chains]
    molecules = data.MoleculeDataset(points)
    molecules.normalize_targets()
    module = models.MPNN(nn.BondMessagePassing(d_h=64), nn.MeanAggregation(), nn.RegressionFFN(input_dim=64))
    trainer = Trainer(accelerator="cpu", max_epochs=1, default_root_dir=mkdtemp())
    return trainer, module, data.build_dataloader(molecules, batch_size=64, num_workers=0)
