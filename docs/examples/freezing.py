"""Fine-tunes a trained net.

woof fit --config adamw_onecycle --model_class freezing.FineTuned --model.trained runs/BEFORE/checkpoints/best.ckpt
"""

from pathlib import Path
from typing import Any

from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from woof_lightning import WoofClassifier, load_net


class FineTuned(WoofClassifier):
    """Trains a new head on a trained ResNet, and after some epochs the backbone, with a tenth of the learning rate.

    Args:
        trained: The checkpoint of the trained net.
        frozen_epochs: The number of epochs in which the head alone is trained.
        options: As WoofClassifier's.
    """

    def __init__(self, *, trained: str, frozen_epochs: int = 2, **options: Any) -> None:
        super().__init__(**options)
        self.trained_net, self.frozen_epochs = trained, frozen_epochs

    def build(self, index: Any) -> None:
        """Builds the net with the trained net's weights, except for the head."""
        super().build(index)
        weights = load_net(Path(self.trained_net)).state_dict()
        self.net.load_state_dict({name: weights[name] for name in weights if not name.startswith("fc.")}, strict=False)

    def on_train_epoch_start(self) -> None:
        """Freezes the backbone at first. BatchNorm's statistics are still updated."""
        super().on_train_epoch_start()
        for weight in self.backbone():
            weight.requires_grad_(self.current_epoch >= self.frozen_epochs)

    def configure_optimizers(self) -> Any:
        """Returns AdamW with both groups from the start, so that the schedule knows them."""
        lr = self.config.lr
        groups = [{"params": self.net.fc.parameters(), "name": "head"}]
        groups += [{"params": self.backbone(), "name": "backbone"}]
        optimizer = AdamW(groups, lr, weight_decay=self.config.weight_decay)
        scheduler = OneCycleLR(optimizer, [lr, lr / 10], self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def backbone(self) -> list[Any]:
        """Returns the weights of all but the head."""
        return [weight for name, weight in self.net.named_parameters() if not name.startswith("fc.")]
