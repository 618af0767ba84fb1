"""Training with the monitor gives the same weights and the same metrics, to the last bit, as training without it."""

import copy
import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from modules import CLASSES, BackboneUnderNoGrad, Classifier, CompiledSubmodule, FrozenBackbone, FrozenBatchNorm, loader, trainer
from pytorch_lightning import LightningModule, callbacks, seed_everything
from torch import Tensor
from torchvision.models import VisionTransformer

from lightning_cam import CAMMonitor, Evidence


def averaged(before: bool) -> Callable[[list], list]:
    def arranged(monitors: list) -> list:
        if not hasattr(callbacks, "EMAWeightAveraging"):
            pytest.skip("this Lightning has no EMAWeightAveraging; 2.6 brought it")
        average = callbacks.EMAWeightAveraging(decay=0.5)
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
        sizes = {"image_size": 16, "patch_size": 4, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
        network = VisionTransformer(num_classes=CLASSES, dropout=0.1, **sizes)
        torch.nn.init.normal_(network.heads.head.weight)
        super().__init__(network)


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation with validation in the middle": {"accumulate_grad_batches": 2, "val_check_interval": 1},
    "user-frozen batch norm": {"module": FrozenBatchNorm},
    "frozen backbone": {"module": FrozenBackbone},
    "backbone under the user's no_grad": {"module": BackboneUnderNoGrad},
    "a forward that logs": {"module": LogsInForward},
    "a forward that keeps its features": {"module": KeepsFeatures},
    "EMA before": {"callbacks": averaged(before=True)},
    "EMA after": {"callbacks": averaged(before=False)},
    "two validation loaders": {"val": two_loaders},
    "two validation loaders, the second watched": {"val": two_loaders, "monitor": {"dataloader_idx": 1}},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "bf16-true": {"precision": "bf16-true"},
    "compiled submodule": {"module": compiled("submodule")},
    "compiled module": {"module": compiled("module")},
    "module.compile()": {"module": compiled("in place")},
    "overfit_batches": {"overfit_batches": 2},
    "shuffled loader with persistent workers": {"val": persistent},
    "clipping": {"gradient_clip_val": 0.01},
    "no sanity check": {"num_sanity_val_steps": 0},
    "thorough shortcut tests": {"max_epochs": 3, "epochs": {0, 1, 2}},
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
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in module.modules())
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}, metrics, hooks


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_same_weights_and_metrics(name: str, tmp_path: Path) -> None:
    configuration = CONFIGURATIONS[name]
    monitor = CAMMonitor(probe=9, shown=4, **configuration.get("monitor", {}))
    weights, metrics, hooks = train(tmp_path / "without", [], configuration)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*switched itself off.*")
        monitored_weights, monitored_metrics, monitored_hooks = train(tmp_path / "with", [monitor], configuration)
    torch.testing.assert_close(monitored_weights, weights, rtol=0, atol=0)
    torch.testing.assert_close(monitored_metrics, metrics, rtol=0, atol=0)
    assert monitored_hooks == hooks
    looks = [look for look in monitor.history.looks if look.epoch >= 0]
    assert {look.epoch for look in looks} == configuration.get("epochs", {0, 1})
    assert all(look.cams.isfinite().all() and look.cams.amax() > 0 for look in looks)


def fails_at(call: int) -> Callable[[Evidence], Tensor]:
    calls = []

    def method(evidence: Evidence) -> Tensor:
        calls.append(evidence.gradients)
        if len(calls) == call:
            raise RuntimeError("planted")
        return calls[-1].mean(dim=1)

    return method


def test_same_weights_and_metrics_when_the_monitor_fails_half_way(tmp_path: Path) -> None:
    weights, metrics, hooks = train(tmp_path / "without", [], {})
    monitor = CAMMonitor(probe=9, method=fails_at(call=3))  # twice in the rehearsal
    with pytest.warns(UserWarning, match=r"switched itself off in epoch 0; training goes on.*RuntimeError: planted"):
        monitored_weights, monitored_metrics, monitored_hooks = train(tmp_path / "with", [monitor], {})
    torch.testing.assert_close(monitored_weights, weights, rtol=0, atol=0)
    torch.testing.assert_close(monitored_metrics, metrics, rtol=0, atol=0)
    assert monitored_hooks == hooks


def test_the_user_sees_every_argument_documented() -> None:
    described = inspect.getdoc(CAMMonitor)
    assert all(f"{name}: " in described for name in inspect.signature(CAMMonitor).parameters)
