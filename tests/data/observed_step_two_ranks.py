"""One of two processes that train under Lightning's DDP; run by test_observed_step.py."""

import os
import sys
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from observed_steps import Net, images
from torch.utils.data import DataLoader, TensorDataset

from lightning_cam.data.observed_call import observed_call
from lightning_cam.data.observed_step import StepObserver
from lightning_cam.data.replay import check_replay


class Lit(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        out = self(batch[0])
        self.all_gather(out)
        loss = F.cross_entropy(out, batch[1])
        self.log("val_loss", loss, sync_dist=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-2)


class Support(pl.Callback):
    said = None
    observer = None

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        if self.observer is None:
            self.observer = StepObserver(module)
            self.observer.install()

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        if self.said is None:
            seen = observed_call(self.observer.record)
            check = check_replay(seen, module, unchanged)
            self.said = (seen.network, seen.loss, seen.label.part, seen.image.part, seen.task, check.whole)


@contextmanager
def unchanged():
    yield


if __name__ == "__main__":
    rank, port, folder = sys.argv[1:]
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=port, WORLD_SIZE="2", NODE_RANK=rank, LOCAL_RANK="0", RANK=rank,
        GROUP_RANK=rank, LOCAL_WORLD_SIZE="1", TORCHELASTIC_RUN_ID="1",
    )  # fmt: skip
    torch.set_num_threads(1)
    pl.seed_everything(0, verbose=False)
    support = Support()
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", devices=1, num_nodes=2, strategy="ddp", callbacks=[support], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    data = TensorDataset(images(32), torch.arange(32) % 4)
    trainer.fit(Lit(), DataLoader(data, 8), DataLoader(data, 8))
    print(support.said)  # noqa: T201
