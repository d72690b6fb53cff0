"""Gradients of four batches are accumulated before a step; the rest of an epoch makes a step of its own."""
