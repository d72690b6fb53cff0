"""Gradients are clipped to a norm of 1, together with mixed precision and accumulation over four batches."""
