"""Both nets gather their own gradients, and both step at the end of a window."""
