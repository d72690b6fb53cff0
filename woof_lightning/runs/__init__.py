"""What a run leaves on the disk, whichever loop trained it."""
