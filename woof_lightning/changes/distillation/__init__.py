"""Distillation: a frozen teacher's outputs are part of the loss; it is neither trained nor saved."""
