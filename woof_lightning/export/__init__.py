"""Trained nets as files for programs without this package."""
