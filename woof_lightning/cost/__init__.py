"""Measures what each way to train costs: time, memory, start-up, indirection and code."""
