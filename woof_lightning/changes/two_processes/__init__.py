"""Two processes (DDP on gloo) share each batch; the validation is exact, though its images do not divide evenly."""
