"""Gradients of four batches are accumulated before a step; an incomplete group at an epoch's end gets a step, too."""
