"""The schedule knows both learning rates from the start."""
