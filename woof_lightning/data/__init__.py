"""The images: where they come from, their checks, transforms and loading."""
