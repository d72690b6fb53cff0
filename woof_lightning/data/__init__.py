"""The images: where they come from, how they are checked, transformed and loaded."""
