"""Gradients are clipped to a norm of 0.1, together with mixed precision and accumulation over four batches."""
