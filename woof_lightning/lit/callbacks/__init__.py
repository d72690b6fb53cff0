"""Parts for any Lightning project: stopping after signals and NaN, saving within epochs, durable checkpoints."""
