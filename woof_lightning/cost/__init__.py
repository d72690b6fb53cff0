"""What the difference between the loops costs, and the proof that nothing else differs."""
