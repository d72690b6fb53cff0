"""Sharpness-aware minimisation (SAM): the gradient is taken where the loss nearby is highest."""
