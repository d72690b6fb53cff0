"""The backbone is frozen for two epochs, then trained with a tenth of the head's learning rate."""
