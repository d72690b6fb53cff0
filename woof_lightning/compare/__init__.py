"""Comparison of runs: reads the logs of any run, and shows tables, curves and a page."""
