"""Trainings of many kinds, whose weights must not depend on the monitor."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, callbacks, seed_everything
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchmetrics import CatMetric, MeanMetric
from torchmetrics.classification import MulticlassAccuracy
from torchvision.models import VisionTransformer

from lightning_cam import CAMMonitor, Inputs
from support.modules import (
    CLASSES,
    BackboneUnderNoGrad,
    Classifier,
    CompiledSubmodule,
    FrozenBackbone,
    FrozenBatchNorm,
    loader,
    trainer,
)


def averaged(before: bool, kind: str = "EMAWeightAveraging", **options: Any) -> Callable[[list], list]:
    def arranged(monitors: list) -> list:
        if not hasattr(callbacks, kind):
            pytest.skip(f"this Lightning has no {kind}; 2.6 brought it")
        average = getattr(callbacks, kind)(**options)
        return [average, *monitors] if before else [*monitors, average]

    return arranged


class LogsInForward(Classifier):
    """Its forward logs, so that a look could enter the user's metrics."""

    def forward(self, images: Tensor) -> Tensor:
        self.log("norm", images.norm())
        return super().forward(images)


class KeepsFeatures(Classifier):
    """Keeps what it computed and copies itself after every validation, as self-made averages do."""

    def forward(self, images: Tensor) -> Tensor:
        self.features = self.net.trunk(images)
        return self.net.tail(self.features)

    def on_validation_epoch_end(self) -> None:
        self.average = copy.deepcopy(self.net).state_dict()


def compiled(form: str) -> Callable[[], LightningModule]:
    def build() -> LightningModule:
        torch.compiler.reset()
        if form == "submodule":
            return CompiledSubmodule()
        model = Classifier()
        if torch.__version__ < "2.7":  # it cannot compile Lightning's log, monitor or not
            model.log = torch.compiler.disable(model.log)
        if form == "module":
            return torch.compile(model, backend="eager")
        model.compile(backend="eager")
        return model

    return build


def two_loaders() -> list:
    return [loader(seed=1), loader(16, seed=2)]


def persistent() -> Any:
    return loader(seed=1, shuffle=True, num_workers=1, persistent_workers=True)


class Tokens(Classifier):
    """Patch tokens behind a class token, with dropout; torchvision starts its head at zero, so that no map would show anything."""

    def __init__(self) -> None:
        sizes = {
            "image_size": 16,
            "patch_size": 4,
            "num_layers": 2,
            "num_heads": 2,
            "hidden_dim": 8,
            "mlp_dim": 16,
        }
        network = VisionTransformer(num_classes=CLASSES, dropout=0.1, **sizes)
        torch.nn.init.normal_(network.heads.head.weight)
        super().__init__(network)


class TwoOptimizers(Classifier):
    """Manual optimization: the layers before and those behind take turns."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int = 0) -> None:
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch))
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.net.body.parameters(), lr=0.05), torch.optim.Adam(
            self.net.head.parameters(), lr=0.01
        )


class Checkpointed(Classifier):
    """Gradient checkpointing of the layers up to the target layer, and of those behind it."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant

    def forward(self, images: Tensor) -> Tensor:
        images = images.clone().requires_grad_(
            torch.is_grad_enabled()
        )  # reentrant ones need it to train what is inside
        activations = checkpoint(self.net.trunk, images, use_reentrant=self.reentrant)
        return checkpoint(self.net.tail, activations, use_reentrant=self.reentrant)


class CheckpointedWhole(Checkpointed):
    def forward(self, images: Tensor) -> Tensor:
        return checkpoint(
            self.net, images.clone().requires_grad_(torch.is_grad_enabled()), use_reentrant=self.reentrant
        )


class MetricsInForward(Classifier):
    """Metrics whose state is a tensor, or a list that grows; one is in a dict, so that ``modules()`` does not tell of it."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy, self.mean, self.all = (
            MulticlassAccuracy(num_classes=CLASSES),
            MeanMetric(),
            CatMetric(),
        )
        self.hidden = {"mean": MeanMetric()}

    def forward(self, images: Tensor) -> Tensor:
        scores = super().forward(images)
        self.accuracy(scores, scores.argmax(dim=1).flip(0))
        for metric in (self.mean, self.all, self.hidden["mean"]):
            metric.update(scores.detach()[:, 0])
        return scores

    def on_validation_epoch_end(self) -> None:
        values = {
            "accuracy": self.accuracy.compute(),
            "mean": self.mean.compute(),
            "hidden": self.hidden["mean"].compute(),
        }
        self.log_dict({**values, "all": self.all.compute().sum()})


class CountsInForward(Classifier):
    """What it keeps stands in a list, a dict and a dict of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.counts = {"forwards": 0, "by size": {}}
        self.average = {"score": torch.zeros(())}

    def forward(self, images: Tensor) -> Tensor:
        scores = super().forward(images)
        self.seen.append(scores.detach().mean())
        self.counts["forwards"] += 1
        self.counts["by size"][len(images)] = self.counts["by size"].get(len(images), 0) + 1
        self.average["score"].lerp_(scores.detach().mean(), 0.1)
        return scores

    def on_validation_epoch_end(self) -> None:
        counts = {
            "forwards": self.counts["forwards"],
            **{f"of {n}": count for n, count in self.counts["by size"].items()},
        }
        self.log_dict({name: float(count) for name, count in counts.items()})
        self.log_dict({"seen": torch.stack(self.seen).sum(), "average": self.average["score"]})


class RecurrentTail(Classifier):
    """An LSTM over the positions of the features, with dropout between its layers."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.tail, self.head = kind(8, 5, num_layers=2, dropout=0.2, batch_first=True), nn.Linear(5, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.tail(self.net.trunk(images).flatten(2).mT)[0][:, -1])


class TwoBatches(Classifier):
    """Validates one of two batches that come as a dict."""

    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        super().validation_step(batch["b"])


def combined(mode: str) -> dict[str, Any]:
    def val() -> CombinedLoader:
        return CombinedLoader({"a": loader(16, seed=2), "b": loader(seed=1)}, mode)

    return {
        "module": TwoBatches,
        "val": val,
        "monitor": {"inputs": Inputs(images=lambda two: two["b"][0], labels=lambda two: two["b"][1])},
    }


def workers(persistent: bool) -> Callable[[], Any]:
    return lambda: loader(seed=1, shuffle=True, num_workers=2, persistent_workers=persistent)


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation with validation in the middle": {"accumulate_grad_batches": 2, "val_check_interval": 1},
    "user-frozen batch norm": {"module": FrozenBatchNorm},
    "frozen backbone": {"module": FrozenBackbone},
    "backbone under the user's no_grad": {"module": BackboneUnderNoGrad},
    "a forward that logs": {"module": LogsInForward},
    "a forward that keeps its features": {"module": KeepsFeatures},
    "EMA before": {"callbacks": averaged(before=True, decay=0.5)},
    "EMA after": {"callbacks": averaged(before=False, decay=0.5)},
    "two validation loaders": {"val": two_loaders},
    "two validation loaders, the second watched": {
        "val": two_loaders,
        "monitor": {"inputs": Inputs(dataloader_idx=1)},
    },
    "bf16-mixed": {"precision": "bf16-mixed"},
    "bf16-true": {"precision": "bf16-true"},
    "compiled submodule": {"module": compiled("submodule")},
    "compiled module": {"module": compiled("module")},
    "module.compile()": {"module": compiled("in place")},
    "overfit_batches": {"overfit_batches": 2},
    "shuffled loader with persistent workers": {"val": persistent},
    "clipping": {"gradient_clip_val": 0.01},
    "no sanity check": {"num_sanity_val_steps": 0},
    "shortcut tests at three looks": {"max_epochs": 3, "epochs": {0, 1, 2}},
    "looks left out": {"monitor": {"max_overhead": 1e-6}, "epochs": {0}},
    "several layers": {"monitor": {"method": "layercam", "target_layer": ["net.stem", "net.body"]}},
    "tokens": {"module": Tokens},
    "tokens, the tail once a channel": {"module": Tokens, "monitor": {"method": "ablationcam"}},
    "tokens, noisy copies": {"module": Tokens, "monitor": {"method": "smoothgradcam++"}},
    "tokens, second derivatives, bf16-mixed": {
        "module": Tokens,
        "precision": "bf16-mixed",
        "monitor": {"method": "shapleycam", "target": "probability"},
    },
    "covered copies, frozen backbone": {"module": FrozenBackbone, "monitor": {"method": "scorecam"}},
    "two manual optimizers": {"module": TwoOptimizers},
    "gradient checkpointing": {"module": lambda: Checkpointed(reentrant=False)},
    "gradient checkpointing, reentrant": {"module": lambda: Checkpointed(reentrant=True)},
    "gradient checkpointing of all": {"module": lambda: CheckpointedWhole(reentrant=False)},
    "gradient checkpointing of all, reentrant": {"module": lambda: CheckpointedWhole(reentrant=True)},
    "gradient checkpointing, the tail once a channel": {
        "module": lambda: CheckpointedWhole(reentrant=True),
        "monitor": {"method": "ablationcam"},
    },
    "metrics in forward": {"module": MetricsInForward},
    "counts in forward": {"module": CountsInForward},
    "LSTM tail": {"module": RecurrentTail},
    "GRU tail": {"module": lambda: RecurrentTail(nn.GRU)},
    "average of all weights before": {"callbacks": averaged(before=True, kind="WeightAveraging")},
    "average of all weights after": {"callbacks": averaged(before=False, kind="WeightAveraging")},
    "clipping by value with accumulation": {
        "gradient_clip_val": 0.01,
        "gradient_clip_algorithm": "value",
        "accumulate_grad_batches": 2,
    },
    "validation at a share of the epoch": {"val_check_interval": 0.34},
    "validation every second step": {"val_check_interval": 2, "check_val_every_n_epoch": None},
    "validation every second epoch": {"check_val_every_n_epoch": 2, "max_epochs": 4, "epochs": {1, 3}},
    "a share of the validation": {"limit_val_batches": 0.4},
    "two batches in one, the shorter in cycles": combined("max_size_cycle"),
    "two batches in one, up to the shorter's end": combined("min_size"),
    "workers that are forked anew": {"val": workers(persistent=False)},
    "two persistent workers": {"val": workers(persistent=True)},
    "16-mixed": {"precision": "16-mixed"},
    "16-true": {"precision": "16-true"},
    "64-true": {"precision": "64-true"},
}


def train(
    directory: Path, monitors: list[CAMMonitor], configuration: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    options = dict(configuration)
    options.pop("monitor", None)
    options.pop("epochs", None)
    build, val = options.pop("module", Classifier), options.pop("val", lambda: loader(seed=1))
    arranged = options.pop("callbacks", list)(monitors)
    seed_everything(0, verbose=False)
    model = build()
    fitted = trainer(directory, callbacks=arranged, **options)
    fitted.fit(model, loader(shuffle=True), val())
    metrics = {name: value for name, value in fitted.callback_metrics.items() if not name.startswith("cam/")}
    assert len(metrics) >= 2
    module = fitted.lightning_module
    hooks = sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in module.modules()
    )
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}, metrics, hooks
