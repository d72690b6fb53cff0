"""What every measurement shares: a clock, clean processes, intervals, and the counting of code."""
