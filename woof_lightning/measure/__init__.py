"""Tools of all measurements: a clock, fresh processes, intervals, and counts of code."""
