"""The Lightning way: the recipe as a LightningModule, a LightningDataModule and a Trainer."""
