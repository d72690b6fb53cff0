"""What `woof fit` runs: the recipe as a LightningModule, a LightningDataModule and a Trainer."""
