"""The files that a run writes to the disk, for every training loop."""
