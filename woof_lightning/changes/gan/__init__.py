"""Two optimizers in turn: a generator of images and a critic that tells them from real ones."""
