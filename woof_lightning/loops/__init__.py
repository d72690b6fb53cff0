"""The ways to train: the same recipe under different loops, one file per loop."""
