"""Callbacks, and a checkpoint writer, that any Lightning project can use."""
