"""Each process makes its own share of the fakes."""
