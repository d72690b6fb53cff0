"""The loop before any change."""
