"""What your own LightningModule pays: a profiler whose parts sum to the wall time."""
