"""Progressive resizing: the first two epochs see images of half the size."""
