"""Mixup: images are mixed in pairs, and loss and accuracy weigh the labels of both."""
