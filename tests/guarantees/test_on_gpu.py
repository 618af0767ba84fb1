"""On the GPU: training with the monitor gives the same to the last bit, a look survives memory that runs out, maps are the CPU's.

With LIGHTNING_CAM_SMOKE=1 in the environment every test runs on the CPU, so that nothing is met for the first time on a GPU; a
test of what the CPU has not says so by name. Compiled models then stop before code is generated; LIGHTNING_CAM_SMOKE=inductor
generates it, which takes a C++ compiler and minutes.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy
from support.configurations import RecurrentTail
from support.modules import CLASSES, Classifier, data, loader, trainer
from support.networks import net, pictures
from torch import Tensor, nn

from lightning_cam import CUES, METHODS, CAMMonitor, Evidence, Probe, explain, find_shortcuts
from lightning_cam.shortcuts.pairing import pair_up, swapped
from lightning_cam.shortcuts.predictivity import CueFeatures

SMOKE = os.environ.get("LIGHTNING_CAM_SMOKE", "")
DEVICE = torch.device("cpu" if SMOKE else "cuda")
BACKEND = "gloo" if SMOKE else "nccl"
ROOM = 2**30  # bytes that a training may take where memory shall run out

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not (SMOKE or torch.cuda.is_available()),
        reason="no CUDA device; LIGHTNING_CAM_SMOKE=1 runs this on the CPU",
    ),
]


@pytest.fixture(autouse=True)
def _kernels_that_repeat_themselves(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Else two trainings without a monitor would differ, too."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    yield
    torch.use_deterministic_algorithms(False)
    torch.compiler.reset()
    if dist.is_initialized():  # Lightning leaves it for the process' end
        dist.destroy_process_group()


# --- trainings


class KeepsWeights(Callback):
    """Takes the whole weights while the strategy still has them."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.backend = ""
        self.devices: set[str] = set()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights = {
            name: whole(value).detach().cpu().clone()
            for name, value in trainer.strategy.lightning_module_state_dict().items()
        }
        self.backend = dist.get_backend() if dist.is_initialized() else ""
        self.devices = {parameter.device.type for parameter in pl_module.parameters()}


def whole(value: Tensor) -> Tensor:
    return value.full_tensor() if hasattr(value, "full_tensor") else value


class ChannelsLast(Classifier):
    """Weights and images whose channels lie side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.to(memory_format=torch.channels_last)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        images, labels = batch
        return images.contiguous(memory_format=torch.channels_last), labels


class WithoutPooling(Classifier):
    """Each of its layers has a deterministic backward on CUDA."""

    def __init__(self) -> None:
        network = net(classes=CLASSES)
        network.stem[3] = nn.Identity()
        super().__init__(network)


class PoolsUnderNoGrad(Classifier):
    """A pool without deterministic backward on CUDA, which only a look differentiates."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(8 * 9, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            pooled = F.adaptive_avg_pool2d(self.net.trunk(images), 3)
        return self.last(pooled.flatten(1))


def recurrent(kind: type[nn.RNNBase]) -> LightningModule:
    """Without dropout between its layers: the random state that cuDNN draws it from lasts as long as the process, whatever seed."""
    model = RecurrentTail(kind)
    model.tail.dropout = 0.0
    return model


class Sharded(Classifier):
    """FSDP2, of parts and of the whole."""

    def configure_model(self) -> None:
        from torch.distributed.fsdp import fully_shard

        for part in (self.net.body[0], self.net.head, self):
            fully_shard(part, mesh=self.device_mesh["data_parallel"])


def compiled_module(**options: Any) -> LightningModule:
    model = Classifier()
    # What it logs grows with each monitor's scalars: compiled, that would be compiled anew.
    model.log = torch.compiler.disable(model.log)
    return torch.compile(model, **options)


def compiled_in_place(**options: Any) -> LightningModule:
    model = Classifier()
    model.log = torch.compiler.disable(model.log)
    model.compile(**options)
    return model


def compiled_submodule(**options: Any) -> LightningModule:
    model = Classifier()
    model.net.body = torch.compile(model.net.body, **options)
    return model


FORMS: dict[str, Callable[..., LightningModule]] = {
    "module": compiled_module,
    "module.compile()": compiled_in_place,
    "submodule": compiled_submodule,
}
BY_DEFAULT: dict[str, Any] = {"backend": "aot_eager"} if SMOKE == "1" else {}


def pinned(persistent: bool) -> Callable[..., Any]:
    return partial(loader, pin_memory=not SMOKE, num_workers=2, persistent_workers=persistent)


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "32-true": {},
    "16-mixed": {"precision": "16-mixed"},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "bf16-true": {"precision": "bf16-true"},
    "channels_last": {"module": ChannelsLast},
    "channels_last, bf16-mixed": {"module": ChannelsLast, "precision": "bf16-mixed"},
    "channels_last, 16-mixed": {"module": ChannelsLast, "precision": "16-mixed"},
    "deterministic": {"module": WithoutPooling, "deterministic": True},
    "deterministic, a pool that only a look differentiates": {
        "module": PoolsUnderNoGrad,
        "deterministic": True,
    },
    "pinned loader, workers": {"loader": pinned(persistent=False)},
    "pinned loader, persistent workers": {"loader": pinned(persistent=True)},
    "LSTM tail": {"module": partial(recurrent, nn.LSTM)},
    "GRU tail": {"module": partial(recurrent, nn.GRU)},
    "RNN tail, bf16-mixed": {"module": partial(recurrent, nn.RNN), "precision": "bf16-mixed"},
    "ablationcam": {"monitor": {"method": "ablationcam"}},
    "scorecam, 16-mixed": {"monitor": {"method": "scorecam"}, "precision": "16-mixed"},
    "compiled module, what it logs too": {"module": lambda: torch.compile(Classifier(), **BY_DEFAULT)},
    **{f"compiled {form}": {"module": partial(build, **BY_DEFAULT)} for form, build in FORMS.items()},
    "compiled submodule, bf16-mixed": {
        "module": partial(compiled_submodule, **BY_DEFAULT),
        "precision": "bf16-mixed",
    },
    "compiled submodule, CUDA graphs": {
        "module": partial(compiled_submodule, **(BY_DEFAULT or {"mode": "reduce-overhead"})),
    },
    "sharded, DDP": {"strategy": lambda: DDPStrategy(process_group_backend=BACKEND)},
    "sharded, DDP, 16-mixed": {
        "strategy": lambda: DDPStrategy(process_group_backend=BACKEND),
        "precision": "16-mixed",
    },
    "sharded, FSDP1": {"strategy": lambda: FSDPStrategy(process_group_backend=BACKEND)},
    "sharded, FSDP2": {
        "module": Sharded,
        "strategy": lambda: ModelParallelStrategy(
            data_parallel_size=1, tensor_parallel_size=1, process_group_backend=BACKEND
        ),
    },
}


def fit(
    directory: Path, configuration: dict[str, Any], monitors: list[CAMMonitor]
) -> tuple[KeepsWeights, dict[str, Tensor], int]:
    """Trains; gives the weights, the user's metrics and how many hooks the model has at the end."""
    options = dict(configuration)
    options.pop("monitor", None)
    build, load = options.pop("module", Classifier), options.pop("loader", loader)
    if "strategy" in options:
        options["strategy"] = options["strategy"]()
    seed_everything(0, verbose=False)
    torch.compiler.reset()
    model, kept = build(), KeepsWeights()
    fitted = trainer(
        directory,
        **{"callbacks": [*monitors, kept], "accelerator": DEVICE.type, "devices": 1, **options},
    )
    fitted.fit(model, load(shuffle=True), load(seed=1))
    assert fitted.current_epoch == 2
    metrics = {
        name: value.cpu() for name, value in fitted.callback_metrics.items() if not name.startswith("cam/")
    }
    hooks = sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        for module in fitted.lightning_module.modules()
    )
    return kept, metrics, hooks


def same(found: Any, expected: Any) -> bool:
    """To the last bit."""
    return found.keys() == expected.keys() and all(
        torch.equal(value, expected[name]) for name, value in found.items()
    )


NOT_ON_THE_CPU = {"sharded, FSDP1": "torch.distributed.fsdp.FullyShardedDataParallel needs an accelerator"}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_same_weights_and_metrics(name: str, tmp_path: Path) -> None:
    if SMOKE and name in NOT_ON_THE_CPU:
        pytest.skip(NOT_ON_THE_CPU[name])
    configuration = CONFIGURATIONS[name]
    kept, metrics, hooks = fit(tmp_path / "without", configuration, [])
    monitor = CAMMonitor(probe=9, **configuration.get("monitor", {}))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*switched itself off.*")
        monitored, monitored_metrics, monitored_hooks = fit(tmp_path / "with", configuration, [monitor])

    if not (same(monitored.weights, kept.weights) and same(monitored_metrics, metrics)):
        again, again_metrics, _ = fit(tmp_path / "again", configuration, [])
        assert same(again.weights, kept.weights) and same(again_metrics, metrics), (  # noqa: PT018
            "this training does not repeat itself, monitor or not: the configuration is no test"
        )
    torch.testing.assert_close(monitored.weights, kept.weights, rtol=0, atol=0)
    torch.testing.assert_close(monitored_metrics, metrics, rtol=0, atol=0)
    assert len(metrics) >= 2
    assert monitored_hooks == hooks
    assert kept.devices == {DEVICE.type}
    if "strategy" in configuration:
        assert kept.backend == BACKEND
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]
    assert all(look.cams.isfinite().all() and look.cams.amax() > 0 for look in monitor.history.looks[1:])


@pytest.mark.parametrize("name", ["16-mixed", "bf16-mixed"])
def test_a_training_in_few_bits_trains(name: str, tmp_path: Path) -> None:
    """Where the scaler left out every step, equal weights would mean nothing."""
    kept, _, _ = fit(tmp_path, CONFIGURATIONS[name], [])
    seed_everything(0, verbose=False)
    before = Classifier().state_dict()
    assert not torch.equal(kept.weights["net.head.weight"], before["net.head.weight"])


# --- memory that runs out


def scratch(images: Tensor, most: int) -> Tensor:
    """Memory for up to ``most`` images, of which a GPU has ``ROOM``; more than any machine has for others."""
    if SMOKE:
        return torch.empty(2**50 if len(images) > most else 1, dtype=torch.uint8)
    return torch.empty(len(images) * ROOM // (most + most // 2), dtype=torch.uint8, device=images.device)


@pytest.fixture
def _little_memory() -> Iterator[None]:
    if SMOKE:
        yield
        return
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + ROOM) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


SIZES: list[int] = []  # batches, as they came


class NeedsMemory(Classifier):
    """Has memory for its own batches of 8, not for many more."""

    def forward(self, images: Tensor) -> Tensor:
        SIZES.append(len(images))
        scratch(images, 8)
        return super().forward(images)


def greedy(evidence: Evidence) -> Tensor:
    """Has memory for 4 images."""
    SIZES.append(len(evidence.images))
    scratch(evidence.images, 4)
    return METHODS["gradcam"](evidence)


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize(
    ("module", "monitor", "most", "failed"),
    [
        (NeedsMemory, {"max_batch": 24}, 8, [16, 12]),  # the sanity check shows 16 images
        (Classifier, {"method": greedy}, 4, [8]),
    ],
    ids=["in the model", "in the method"],
)
def test_a_look_whose_memory_runs_out_halves_its_batch(
    module: type[Classifier], monitor: dict[str, Any], most: int, failed: list[int], tmp_path: Path
) -> None:
    configuration = {"module": module}
    kept, metrics, _ = fit(tmp_path / "without", configuration, [])
    watching = CAMMonitor(probe=24, **monitor)
    SIZES.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monitored, monitored_metrics, _ = fit(tmp_path / "with", configuration, [watching])
    ran_out = [str(one.message) for one in caught if "memory ran out with" in str(one.message)]
    assert len(ran_out) == 1  # each note once, whatever its numbers
    assert [size for size in SIZES if size > most] == failed
    assert max(SIZES[-10:]) <= most
    torch.testing.assert_close(monitored.weights, kept.weights, rtol=0, atol=0)
    torch.testing.assert_close(monitored_metrics, metrics, rtol=0, atol=0)
    assert [look.epoch for look in watching.history.looks] == [-1, 0, 1]


def test_looks_leave_no_memory_behind(tmp_path: Path) -> None:
    if SMOKE:
        pytest.skip("the CPU's allocator does not tell what is allocated: torch.cuda.memory_allocated")
    held: list[int] = []

    class Weighs(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            torch.cuda.synchronize()
            held.append(torch.cuda.memory_allocated())

    seed_everything(0, verbose=False)
    monitor = CAMMonitor(probe=9)
    fitted = trainer(tmp_path, callbacks=[monitor, Weighs()], accelerator="cuda", devices=1, max_epochs=12)
    fitted.fit(Classifier(), loader(), loader(seed=1))
    assert len(monitor.history.looks) == 13
    assert max(held[6:]) - min(held[2:6]) < 2**20, held


# --- what is computed


def test_maps_are_computed_where_the_model_is(tmp_path: Path) -> None:
    seen: set[str] = set()

    def method(evidence: Evidence) -> Tensor:
        seen.update(part.device.type for part in (evidence.images, evidence.activations, evidence.gradients))
        return METHODS["gradcam"](evidence)

    fit(tmp_path, {}, [CAMMonitor(probe=9, method=method)])
    assert seen == {DEVICE.type}


@pytest.mark.parametrize("tail", [nn.LSTM, nn.GRU])
def test_a_recurrent_tail_in_eval_mode_is_differentiated(
    tail: type[nn.RNNBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuDNN has no backward for it, so a look does without; afterwards cuDNN is what it was."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model, images = RecurrentTail(tail).eval().to(DEVICE), pictures().to(DEVICE)
    before = torch.backends.cudnn.enabled
    if not SMOKE:
        with pytest.raises(RuntimeError, match="cudnn RNN backward can only be called in training mode"):
            model(images).sum().backward()
        model.zero_grad()
    found = explain(model, images, target=0, target_layer="net.body").cams
    assert torch.backends.cudnn.enabled == before
    assert found.amax() > 0
    expected = explain(model.cpu(), images.cpu(), target=0, target_layer="net.body").cams
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3 * expected.amax().item())


FEW = {"rise", "sscam", "iscam", "random"}  # of a thousand passes, or of noise


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_gives_the_maps_of_the_cpu(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = net(classes=CLASSES).eval()
    images = pictures(2 if method in FEW else 4)
    options: dict[str, Any] = {"method": method, "target_layer": "body", "target": 0}
    found = explain(model.to(DEVICE), images.to(DEVICE), **options).cams
    assert found.device.type == DEVICE.type
    exact = torch.float32 if method == "random" else torch.float64  # noise of its own, drawn in each type
    expected = explain(model.cpu().to(exact), images.to(exact), **options).cams
    largest = expected.abs().amax().item()
    assert largest > 0
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-3 * largest, check_dtype=False)


def tagged_probe() -> tuple[nn.Module, Tensor, Tensor]:
    """A model that reads a tag, images that bear it, and their labels."""
    images, labels = data(30, seed=3).tensors
    images[:, :, :4, :4] = labels[:, None, None, None].float() * 3  # a tag that tells the class
    model = nn.Sequential(nn.Conv2d(3, CLASSES, 4, stride=16), nn.Flatten()).eval()
    weights = torch.tensor([-1.0, 0.0, 1.0])[:, None, None, None].expand(CLASSES, 3, 4, 4) / 48
    model[0].weight.data = weights.clone()
    model[0].bias.data = torch.tensor([1.0, 0.6, -2.0])
    return model, images, labels


def test_shortcut_tests_count_as_on_the_cpu() -> None:
    model, images, labels = tagged_probe()

    def counted(device: torch.device) -> tuple[Any, ...]:
        report = find_shortcuts(model.to(device), Probe(images.to(device), labels.to(device)))
        return report.hosts, report.passes, sorted(one.cue for one in report.findings)

    found = counted(DEVICE)
    assert found == counted(torch.device("cpu"))
    assert "cell_0_0" in found[2]


def test_every_cue_is_swapped_where_only_deterministic_kernels_may_run() -> None:
    """Tests run where a warning is enough; pictures of what they found do not."""
    model, images, labels = tagged_probe()
    probe = Probe(images.to(DEVICE), labels.to(DEVICE))
    report = find_shortcuts(model.to(DEVICE), probe)
    assert report.findings
    torch.use_deterministic_algorithms(True)
    view = report.views[0]
    pairs = pair_up(view.labels, range(1))
    kept = CueFeatures(CUES)
    kept.add(probe.images, probe.labels, None)
    assert kept.names
    for name in kept.names:
        for rows, _ in swapped(CUES[name], view, pairs.hosts, pairs.other, max_batch=8):
            assert rows.isfinite().all()
    for finding in report.findings:
        report.drawing(finding, "epoch 0", None)()
