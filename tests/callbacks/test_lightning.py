"""Both namespaces of Lightning."""

from pathlib import Path

import pytest
from support.modules import CLASSES, Classifier, loader
from support.networks import net

from lightning_cam import CAMMonitor


@pytest.mark.needs("lightning")
def test_both_namespaces(tmp_path: Path) -> None:
    import lightning.pytorch as other

    class Other(other.LightningModule):
        __init__ = Classifier.__init__
        forward, training_step = Classifier.forward, Classifier.training_step
        validation_step, configure_optimizers = Classifier.validation_step, Classifier.configure_optimizers

    Other.__init__ = lambda self: (
        other.LightningModule.__init__(self),
        setattr(self, "net", net(classes=CLASSES)),
    )[0]
    for callbacks in ([CAMMonitor(probe=6)], CAMMonitor(probe=6)):
        fitted = other.Trainer(
            default_root_dir=tmp_path,
            callbacks=callbacks,
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
        )
        fitted.fit(Other(), loader(), loader(seed=1))
        assert fitted.callback_metrics["cam/border_mass"] > 0
