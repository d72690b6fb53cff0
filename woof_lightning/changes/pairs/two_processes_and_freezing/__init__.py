"""The gradients of the backbone are exchanged from the epoch on in which it is unfrozen."""
