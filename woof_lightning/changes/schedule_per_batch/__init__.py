"""A one-cycle schedule, which steps with each batch."""
