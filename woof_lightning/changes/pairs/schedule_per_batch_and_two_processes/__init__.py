"""Each process has half of each batch, so the number of steps stays."""
