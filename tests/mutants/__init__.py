"""Plants small errors, one at a time, and counts those that the tests notice."""
