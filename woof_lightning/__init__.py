"""Imagewoof trained the Lightning way, beside other loops on the same recipe."""
