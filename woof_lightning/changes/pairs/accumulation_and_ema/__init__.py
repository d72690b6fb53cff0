"""The average moves with the optimizer, not with the batches."""
