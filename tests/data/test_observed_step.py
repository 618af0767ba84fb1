"""Observing a step changes nothing, leaves nothing behind, and withstands what surrounds a step in practice."""

import copy
import functools
import gc
import os
import random
import socket
import subprocess
import sys
import threading
import weakref
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from support.observed_steps import Net, Plain, Task, images, labels
from support.observed_steps_rare import CASES
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Accuracy, Metric, MetricCollection

from lightning_cam.data.derivation import Derivation
from lightning_cam.data.nested import leaves
from lightning_cam.data.observed_call import observed_call
from lightning_cam.data.observed_step import StepObserver
from lightning_cam.data.recorded_calls import reachable_modules


def tables(module: nn.Module) -> list:
    """Every module's mode, attributes and hooks; keys in their order. Of metrics, which count the step, the hooks."""
    return [
        (name, one.training, {key: shown(value) for key, value in vars(one).items() if is_stable(one) or "hooks" in key})
        for one, name in reachable_modules(module)
    ]  # fmt: skip


def is_stable(module):
    return not isinstance(module, Metric | MetricCollection)


def shown(value):
    return list(value) if isinstance(value, dict) else id(value)


def states() -> list:
    numpy = np.random.get_state()
    return [torch.random.get_rng_state().tolist(), random.getstate(), numpy[1].tolist(), numpy[2]]


@pytest.mark.parametrize("name", CASES)
def test_no_trace_is_left(name: str, unchecked) -> None:  # a check of lists draws a random item
    module, batch = CASES[name].make()
    module.eval()
    before, weights = tables(module), copy.deepcopy(module.state_dict())
    observer = StepObserver(module)
    observer.install()
    assert tables(module) != before
    pl.seed_everything(1, verbose=False)
    module.validation_step(batch, 0)
    after_observed = states()
    assert tables(module) == before
    for key, weight in module.state_dict().items():
        if not key.startswith(("metrics", "accuracy")):
            assert torch.equal(weight, weights[key])
    plain, other = CASES[name].make()
    plain.eval()
    pl.seed_everything(1, verbose=False)
    plain.validation_step(other, 0)
    assert states() == after_observed


@pytest.mark.parametrize("name", CASES)
def test_the_step_returns_the_same_to_the_last_bit(name: str) -> None:
    results = []
    for observes in (False, True):
        module, batch = CASES[name].make()
        module.eval()
        torch.manual_seed(1)
        if observes:
            with StepObserver(module):
                results.append(module.validation_step(batch, 0))
        else:
            results.append(module.validation_step(batch, 0))
    plain, observed = (dict(leaves(result)) for result in results)
    assert plain.keys() == observed.keys()
    for path, value in plain.items():
        assert torch.equal(value, observed[path])


def test_what_our_own_hooks_compute_is_no_part_of_the_step() -> None:
    heard: list[str] = []
    derivation = Derivation(lambda name, *rest: heard.append(name))
    with derivation:
        with derivation.noting():
            torch.ones(2).clone()
        torch.ones(2).neg()
        with derivation.noting():
            raise ValueError("mine")
    assert "clone" not in heard
    assert "neg" in heard
    assert str(derivation.error) == "mine"


def test_it_observes_one_call_only() -> None:
    module, batch = CASES["Control"].make()
    observer = StepObserver(module)
    observer.install()
    module.validation_step(batch, 0)
    first = observer.record
    module.validation_step(batch, 1)
    assert observer.record is first
    assert "validation_step" not in vars(module)


def test_what_stood_on_the_instance_stands_there_again() -> None:
    module, batch = CASES["Control"].make()
    own = functools.partial(Plain.validation_step, module)
    module.validation_step = own
    with StepObserver(module) as observer:
        assert module.validation_step is not own
        module.validation_step(batch, 0)
    assert vars(module)["validation_step"] is own
    assert observer.record.losses[0].name == "cross_entropy"
    with StepObserver(module):
        pass  # never called
    assert vars(module)["validation_step"] is own


class Raises(Plain):
    where = "forward"

    def forward(self, x):
        out = self.net(x)
        if self.where == "forward":
            raise RuntimeError("mine")
        return out

    def validation_step(self, batch, batch_idx):
        out = self(batch[0])
        if self.where == "step":
            raise KeyboardInterrupt
        return F.cross_entropy(out, batch[1])


@pytest.mark.parametrize("where", ["forward", "step"])
def test_a_step_that_raises_leaves_no_trace_either(where: str) -> None:
    module = Raises()
    module.where = where
    before = tables(module)
    with StepObserver(module) as observer, pytest.raises((RuntimeError, KeyboardInterrupt)) as raised:
        module.validation_step(Plain.batch(), 0)
    assert observer.record.error is raised.value
    assert tables(module) == before
    assert not torch.overrides._get_current_function_mode_stack()


def test_an_error_that_the_user_catches_is_no_call() -> None:
    class Tries(Raises):
        def validation_step(self, batch, batch_idx):
            try:
                self(batch[0])
            except RuntimeError:
                return F.cross_entropy(self.net(batch[0]), batch[1])

    module = Tries()
    with StepObserver(module) as observer:
        module.validation_step(Plain.batch(), 0)
    seen = observed_call(observer.record)
    assert seen.network == "net"
    assert seen.loss == "cross_entropy"


class Stubborn(torch.Tensor):
    """A subclass that refuses much of what a recording would do."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func.__name__ in ("equal", "clone"):
            raise TypeError("not with me")
        return super().__torch_function__(func, types, args, kwargs or {})


def test_tensors_that_cannot_be_copied_do_not_break_the_step() -> None:
    module, (x, y) = CASES["Control"].make()
    with StepObserver(module) as observer:
        loss, _ = module.validation_step((x.as_subclass(Stubborn), y), 0)
    assert loss.isfinite()
    seen = observed_call(observer.record)
    assert seen.network == ""
    for call in observer.record.calls:
        for image in call.images:
            assert type(image.images) in (torch.Tensor, type(None))


def test_what_the_recording_cannot_do_is_told_and_the_step_goes_on() -> None:
    class Sparse(Plain):
        def validation_step(self, batch, batch_idx):
            dense = batch[0].to_dense()
            return F.cross_entropy(self(dense), batch[1])

    module = Sparse()
    x, y = Plain.batch()
    with StepObserver(module) as observer:
        loss = module.validation_step((x.to_sparse(), y), 0)
    assert loss.isfinite()
    assert observed_call(observer.record).sentences


def test_inference_tensors() -> None:
    module, batch = CASES["NormalizesInTheStep"].make()
    module.eval()
    with torch.inference_mode(), StepObserver(module) as observer:
        module.validation_step([part.clone() for part in batch], 0)
    seen = observed_call(observer.record)
    assert seen.network == ""
    assert not seen.image.images.is_inference()
    assert not seen.label.values.is_inference()
    images = seen.image.images.requires_grad_()
    module(images).sum().backward()  # could not be saved for backward, were they inference tensors
    assert images.grad is not None


def test_another_thread_is_not_recorded() -> None:
    class Threads(Plain):
        def validation_step(self, batch, batch_idx):
            worker = threading.Thread(target=self.net, args=(batch[0],))
            worker.start()
            worker.join()
            return F.cross_entropy(self(batch[0]), batch[1])

    module = Threads()
    with StepObserver(module) as observer:
        module.validation_step(Plain.batch(), 0)
    assert observer.record.calls[0].name == ""
    assert sum(call.name == "net" for call in observer.record.calls) == 1


@pytest.mark.parametrize("kind", ["trace", "script"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_scripted_networks_are_left_alone(kind) -> None:
    class Scripted(Plain):
        def __init__(self, calls_itself: bool):
            super().__init__()
            self.calls_itself = calls_itself
            net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 4)).eval()
            self.net = torch.jit.trace(net, images(2)) if kind == "trace" else torch.jit.script(net)

        def validation_step(self, batch, batch_idx):
            out = self(batch[0]) if self.calls_itself else self.net(batch[0])
            return F.cross_entropy(out, batch[1])

    for calls_itself in (True, False):
        module = Scripted(calls_itself)
        with StepObserver(module) as observer:
            module.validation_step(Plain.batch(), 0)
        seen = observed_call(observer.record)
        assert (seen.network == "") == calls_itself
        if not calls_itself:
            assert seen.sentences == (
                "could not see which network your validation_step runs; assumed self(images)",
            )


def test_any_object_with_a_validation_step() -> None:
    class Bare:
        def __init__(self):
            self.model = Net().eval()

        def validation_step(self, batch, batch_idx):
            return F.cross_entropy(self.model(batch[0]), batch[1])

    bare = Bare()
    with StepObserver(bare) as observer:
        bare.validation_step(Plain.batch(), 0)
    assert observed_call(observer.record).network == "model"
    assert list(vars(bare)) == ["model"]


def test_the_users_hooks_run_once_and_are_seen_through() -> None:
    module, batch = CASES["CallsTheNetwork"].make()
    told = []
    module.net.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    module.net.register_forward_hook(lambda m, args, out: told.append(1) or out + 1)
    with StepObserver(module) as observer:
        module.validation_step(batch, 0)
    seen = observed_call(observer.record)
    assert told == [1]
    assert seen.image.part == (0,)  # as the user gave it, before his hook
    assert seen.scores == ()


COMPILED = {
    "submodule": lambda m: setattr(m, "net", torch.compile(m.net, backend="eager")),
    "in place": lambda m: m.net.compile(backend="eager"),
    "itself": lambda m: m.compile(backend="eager"),
    "forward": lambda m: setattr(m, "forward", torch.compile(m.forward, backend="eager")),
    "step": lambda m: setattr(m, "validation_step", torch.compile(m.validation_step, backend="eager")),
}


@pytest.mark.parametrize("how", COMPILED)
def test_compiled_without_one_graph_more(how: str) -> None:
    graphs = []
    for observes in (False, True):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        module, batch = CASES["Control"].make()
        module.eval()
        COMPILED[how](module)
        with torch.no_grad():
            if observes:
                with StepObserver(module) as observer:
                    module.validation_step(batch, 0)
                seen = observed_call(observer.record)
                assert seen.loss == "cross_entropy"
                assert seen.network is not None
                assert seen.label.part == (1,)
            else:
                module.validation_step(batch, 0)
            module.validation_step(batch, 1)
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    torch._dynamo.reset()
    assert graphs[1] <= graphs[0]


# --- under Lightning


class Support(pl.Callback):
    """Observes the first batch of the sanity check, as a monitor would."""

    def __init__(self, sanity_only: bool = True) -> None:
        self.observer, self.record, self.sanity_only = None, None, sanity_only

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        if self.observer is None and (trainer.sanity_checking or not self.sanity_only):
            self.observer = StepObserver(module)
            self.observer.install()

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        if self.record is None and self.observer is not None:
            self.record = self.observer.record


class Lit(pl.LightningModule):
    def __init__(self, noisy: bool = True):
        super().__init__()
        self.net, self.noisy = Net(), noisy
        self.accuracy = Accuracy("multiclass", num_classes=4)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(F.dropout(self(batch[0]), 0.2, training=self.noisy), batch[1])

    def validation_step(self, batch, batch_idx):
        x = batch[0] + 0.1 * torch.randn_like(batch[0]) if self.noisy else batch[0]
        out = self(x)
        self.accuracy(out, batch[1])
        self.log("val_loss", F.cross_entropy(out, batch[1]))
        self.log("val_accuracy", self.accuracy)
        np.random.rand()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


def train(tmp_path, *, support: Support | None, module=None, **options):
    pl.seed_everything(0, verbose=False)
    module = module() if module is not None else Lit()
    data = TensorDataset(images(32), torch.arange(32) % 4)
    options = {
        "logger": False,
        "enable_checkpointing": False,
        "max_epochs": 2,
        "accelerator": "cpu",
        **options,
    }
    trainer = pl.Trainer(
        callbacks=[support] if support else [], enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path, **options,
    )  # fmt: skip
    trainer.fit(module, DataLoader(data, 8, shuffle=True), DataLoader(data, 8))
    return module, trainer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sanity_only", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"precision": "bf16-mixed"}, {"precision": "64-true"}, {"inference_mode": False}]
)
def test_trainings_are_equal_to_the_last_bit(tmp_path, options, sanity_only, unchecked) -> None:
    steps = {} if sanity_only else {"num_sanity_val_steps": 0}
    plain, plain_trainer = train(tmp_path, support=None, **options, **steps)
    plain_states = states()
    support = Support(sanity_only)
    observed, trainer = train(tmp_path, support=support, **options, **steps)
    assert states() == plain_states
    assert plain_trainer.callback_metrics == trainer.callback_metrics
    assert len(trainer.callback_metrics) == 2
    for key, weight in plain.state_dict().items():
        assert torch.equal(weight, observed.state_dict()[key])
    seen = observed_call(support.record)
    assert (seen.network, seen.loss, seen.label.part, seen.task) == ("", "cross_entropy", (1,), "multiclass")


@pytest.mark.filterwarnings("ignore")
def test_lightning_passes_the_arguments_that_the_step_names(tmp_path) -> None:
    class WithoutIndex(Lit):
        def validation_step(self, batch):
            return super().validation_step(batch, 0)

    support = Support()
    train(tmp_path, support=support, module=WithoutIndex)
    assert len(support.record.args) == 1
    assert observed_call(support.record).network == ""


@pytest.mark.filterwarnings("ignore")
def test_the_whole_module_compiled_under_lightning(tmp_path) -> None:
    support = Support()
    train(
        tmp_path,
        support=support,
        module=lambda: torch.compile(Lit(noisy=False), backend="eager"),
        max_epochs=1,
    )
    torch._dynamo.reset()
    seen = observed_call(support.record)
    assert (seen.loss, seen.label.part, seen.image.part) == ("cross_entropy", (1,), (0,))


def test_nothing_of_the_step_is_kept_alive_but_what_the_record_names() -> None:
    module, batch = CASES["Control"].make()
    kept = []

    class Watching(nn.Module):
        def forward(self, x):
            kept.append(weakref.ref(x))
            return x

    module.net.features.append(Watching())
    with StepObserver(module) as observer:
        module.validation_step(batch, 0)
    gc.collect()
    assert observer.record is not None
    assert kept[0]() is None


def held(record) -> int:
    """Bytes of tensors that the record holds beside the user's batch."""
    own = {tensor.untyped_storage().data_ptr() for tensor in record.parts.originals.values()}
    found: dict[int, int] = {}
    parts = record.parts
    things = [*parts.images.values(), *parts.small.values(), *parts._witnesses.values()]
    things += [record.losses, record.meetings, record.decisions]
    things += [[call.arguments, call.outputs, call.images] for call in record.calls]
    for thing in things:
        for tensor in everything(thing):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def everything(thing):
    """Every tensor, also as a key's value and in what the record's own classes hold."""
    if isinstance(thing, dict):
        thing = list(thing.values())
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, list | tuple):
        for part in thing:
            yield from everything(part)
    elif is_dataclass(thing):
        for one in fields(thing):
            yield from everything(getattr(thing, one.name))


@pytest.mark.parametrize(
    "name", ["Control", "NormalizesInTheStep", "Segmentation", "TestTimeFlips", "Checkpointed", "Siamese"]
)
def test_one_batch_is_held_and_not_two(name: str) -> None:
    class Large(type(CASES[name].make()[0])):
        pass

    module, batch = CASES[name].make()
    large = [F.interpolate(part, (96, 96)) if part.ndim == 4 else part for part in batch]
    if name == "Segmentation":
        large[1] = torch.randint(0, 5, (8, 96, 96))
    with StepObserver(module) as observer, torch.no_grad():
        module.validation_step(large, 0)
    size = sum(part.nbytes for part in large if part.is_floating_point() and part.ndim == 4)
    assert size <= held(observer.record) <= 1.1 * size


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_processes(kind: str, tmp_path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join(map(str, [tests.parent, tests]))
    program = str(tests / "support" / "observed_step_two_ranks.py")
    ranks = [
        subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, program, kind, str(rank), str(port), str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=240)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    for text in said:
        assert "('', 'cross_entropy', (1,), (0,), 'multiclass', 0.0)" in text


def test_a_transformers_fast_path_is_as_near_as_rounding() -> None:
    """Torch's encoder takes another way while hooks are set: what is observed may differ in the last bits."""

    class Encoder(Task):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(3, 16, 4, 4)
            self.net = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)
            self.fc = nn.Linear(16, 4)

        def forward(self, x):
            return self.fc(self.net(self.patch(x).flatten(2).transpose(1, 2)).mean(1))

    module, batch = Encoder().eval(), (images(), labels())
    with torch.no_grad():
        plain, _ = module.validation_step(batch, 0)
        with StepObserver(module) as observer:
            observed, _ = module.validation_step(batch, 0)
    torch.testing.assert_close(plain, observed)
    assert observed_call(observer.record).network == ""
