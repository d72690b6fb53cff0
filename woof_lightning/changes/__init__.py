"""What a change costs: the same change to a training loop, made in each way, proven equal and counted."""
