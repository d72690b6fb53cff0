"""scvi-tools' SCVI on drawn counts of genes, as its tutorial trains it; a script."""

from __future__ import annotations

import anndata
import numpy as np
import scvi

counts = np.random.default_rng(0).negative_binomial(5, 0.3, (2048, 200)).astype("float32")
cells = anndata.AnnData(counts)
scvi.model.SCVI.setup_anndata(cells)
scvi.model.SCVI(cells, n_hidden=64, n_latent=10).train(max_epochs=100, accelerator="cpu", batch_size=128)
