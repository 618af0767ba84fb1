"""One of two processes that train under Lightning's DDP or FSDP2; run by test_observed_step.py."""

import os
import sys
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.strategies import ModelParallelStrategy
from torch.utils.data import DataLoader, TensorDataset

from lightning_cam.data.observed_call import observed_call
from lightning_cam.data.observed_step import StepObserver
from lightning_cam.data.replay import check_replay
from support.observed_steps import Net, images


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


class Sharded(Lit):
    """FSDP2: every parameter is split over both ranks."""

    def configure_model(self):
        from torch.distributed.fsdp import fully_shard

        for part in (self.net.features, self.net):
            fully_shard(part, mesh=self.device_mesh["data_parallel"])


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


def train(kind, folder, callbacks):
    pl.seed_everything(0, verbose=False)
    options = {"accelerator": "cpu", "devices": 1, "num_nodes": 2, "strategy": "ddp"}
    if kind == "fsdp2":
        strategy = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
        options = {**options, "strategy": strategy}
    trainer = pl.Trainer(
        max_epochs=1, callbacks=callbacks, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, **options,
    )  # fmt: skip
    data = TensorDataset(images(32), torch.arange(32) % 4)
    module = Sharded() if kind == "fsdp2" else Lit()
    trainer.fit(module, DataLoader(data, 8), DataLoader(data, 8))
    own = [
        value.to_local() if hasattr(value, "to_local") else value for value in module.state_dict().values()
    ]
    return [value.clone() for value in own], dict(trainer.callback_metrics)


if __name__ == "__main__":
    kind, rank, port, folder = sys.argv[1:]
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=port, WORLD_SIZE="2", NODE_RANK=rank, LOCAL_RANK="0", RANK=rank,
        GROUP_RANK=rank, LOCAL_WORLD_SIZE="1", TORCHELASTIC_RUN_ID="1",
    )  # fmt: skip
    torch.set_num_threads(1)
    support = Support()
    plain, observed = train(kind, folder, []), train(kind, folder, [support])
    assert plain[1] == observed[1]
    assert all(torch.equal(one, other) for one, other in zip(plain[0], observed[0], strict=True))
    print(support.said)  # noqa: T201
