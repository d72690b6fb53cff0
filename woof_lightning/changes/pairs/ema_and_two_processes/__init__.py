"""All processes validate with the average of the first one, its BatchNorm statistics included."""
