"""Runs beside each other: reads the logs of any run and shows tables, curves and a page."""
