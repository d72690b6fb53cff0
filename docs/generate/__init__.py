"""Writes figures, tables and quoted code into README and docs."""
