"""The schedule steps with the optimizer, so it has a quarter of the steps."""
