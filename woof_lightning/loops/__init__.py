"""The other ways: the same recipe under other loops, one file each."""
