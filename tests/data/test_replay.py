"""What was observed runs again, equally; and where it does not, the user reads why."""

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support.observed_steps import Net, Plain, Task, images, labels
from support.observed_steps_more import MEAN, STD
from support.observed_steps_rare import CASES
from torch import nn

from lightning_cam.attribution.preserve import leaving_no_trace
from lightning_cam.data.call_again import replay_call
from lightning_cam.data.observed_call import observed_call
from lightning_cam.data.observed_facts import STEP
from lightning_cam.data.observed_normalization import normalization_between
from lightning_cam.data.observed_step import StepObserver
from lightning_cam.data.replay import check_replay, observed_images, quiet, replayed_scores


def observe(module, batch):
    with StepObserver(module) as observer, torch.no_grad():
        module.validation_step(batch, 0)
    return observed_call(observer.record)


def check(module, batch=None, seen=None):
    seen = seen or observe(module, batch or Plain.batch())
    return check_replay(seen, module, lambda: leaving_no_trace(module))


def evaluated(kind, *options):
    torch.manual_seed(0)
    return kind(*options).eval()


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].way != "unseen"])
def test_other_images_give_what_a_step_with_them_would(name: str) -> None:
    """The observed way, with the images of another batch, gives what the loss of that batch's own step takes."""
    facts = CASES[name]
    module, batch = facts.make()
    seen = observe(module.eval(), batch)
    torch.manual_seed(7)
    other = type(module).batch()
    if seen.label is not None and isinstance(other, tuple | list) and seen.way == STEP:
        other = type(other)(
            b if i in facts.label else a for i, (a, b) in enumerate(zip(other, batch, strict=True))
        )
    own = observe(module, other)
    stand_in = own.image.images if seen.way != STEP else None
    if stand_in is None:
        stand_in = observed_images(own)
    with torch.no_grad():
        scores = replayed_scores(seen, module, stand_in.clone())
    expected = own.answer.sample if seen.way == STEP else next(
        leaf.sample for leaf in own.call.outputs if leaf.path == own.scores
    )  # fmt: skip
    if name in (
        "Siamese",
        "DepthAndPicture",
        "LateFusion",
        "LateFusionInTheStep",
        "Prototypes",
        "RowsLeftOut",
    ):
        assert scores.shape[1:] == expected.shape[1:]  # the other arguments stay those of the observed batch
    elif not seen.is_dense:
        torch.testing.assert_close(scores, expected, rtol=0, atol=0)
    else:
        assert scores.shape[:2] == expected.shape[:2]


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].way != "unseen" and CASES[name].loss])
def test_the_step_itself_can_be_replayed_as_well(name: str) -> None:
    """Where a call was chosen, the step gives the same up to the loss."""
    module, batch = CASES[name].make()
    seen = observe(module.eval(), batch)
    if seen.way == STEP:
        return
    by_step = check(module, seen=replace(seen, way=STEP))
    random = name == "NoiseInTheStep"
    assert (by_step.whole == 0) != random, by_step
    if random:
        assert "random" in by_step.sentence


class Noisy(Plain):
    def forward(self, x):
        return self.net(x + 0.01 * torch.randn_like(x))


class Dropout(Plain):
    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def forward(self, x):
        return self.net.fc(F.dropout(self.net.embed(x), 0.5, training=True))


class TrainsInside(Plain):
    def validation_step(self, batch, batch_idx):
        self.train()
        out = self(batch[0])
        self.eval()
        return F.cross_entropy(out, batch[1])


class OtherWeights(Plain):
    def __init__(self):
        super().__init__()
        self.shadow = {name: torch.randn_like(value) for name, value in self.net.named_parameters()}

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(torch.func.functional_call(self.net, self.shadow, batch[0]), batch[1])


@pytest.mark.parametrize("kind", [Noisy, Dropout, TrainsInside, OtherWeights])
def test_what_truly_differs_is_told(kind) -> None:
    module = evaluated(kind)
    result = check(module)
    assert not result.is_equal
    assert result.sentence.startswith(f"replayed, the scores differ by {result.whole:.2g} of a spread of")
    assert "the step is random, trains inside validation, or runs other weights" in result.sentence


def test_of_other_weights_the_step_is_equal() -> None:
    module = evaluated(OtherWeights)
    seen = observe(module, Plain.batch())
    by_step = check(module, seen=replace(seen, way=STEP))
    assert by_step.whole == 0
    assert by_step.sentence == ""


class BatchStatistics(Plain):
    """Batch norm that was never put in eval mode, as of a network in a plain list."""

    def __init__(self):
        super().__init__()
        self.nets = [Net()]

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.nets[0](batch[0]), batch[1])


def test_rows_that_depend_on_each_other() -> None:
    module = evaluated(BatchStatistics)
    seen = observe(module, Plain.batch())

    @contextmanager
    def as_it_was():
        yield

    result = check_replay(seen, module, as_it_was)
    assert result.is_equal
    assert result.half > result.tolerance
    assert result.sentence == (
        "half of the batch gives other scores than the whole: probes are sent in batches of 8, as observed"
    )


def test_a_batch_that_cannot_be_halved() -> None:
    module, batch = CASES["FixedBatch"].make()
    result = check(module.eval(), batch)
    assert result.is_equal
    assert result.half is None
    assert "half of the batch cannot be sent alone (RuntimeError: " in result.sentence
    assert result.sentence.endswith("probes are sent in batches of 8")


def test_a_batch_of_one_has_no_half() -> None:
    module = evaluated(Plain)
    result = check(module, (images(1), labels()[:1]))
    assert result.is_equal
    assert result.rows_are_independent
    assert result.sentence == ""


def test_a_forward_that_refuses_a_second_run_is_told() -> None:
    class Once(Plain):
        runs = 0

        def forward(self, x):
            type(self).runs += 1
            if self.runs > 1:
                raise RuntimeError("only once")
            return self.net(x)

    result = check(evaluated(Once))
    assert result.sentence == "what was observed could not be replayed (RuntimeError: only once)"


@pytest.mark.parametrize(
    "name", ["Control", "HeadInTheLoss", "MetricsForward", "WritesIntoTheBatch", "NetworkWritesIntoItsImages"]
)
def test_a_replay_leaves_no_trace(name: str) -> None:
    module, batch = CASES[name].make()
    seen = observe(module.eval(), batch)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    random = torch.get_rng_state()
    kept = [part.clone() for part in batch]
    for _ in range(2):
        assert check(module, seen=seen).whole == 0
    assert torch.equal(torch.get_rng_state(), random)
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])
    for part, copy in zip(batch, kept, strict=True):
        assert torch.equal(part, copy)
    assert not torch.overrides._get_current_function_mode_stack()


def test_a_replayed_step_logs_nothing() -> None:
    class Logs(Plain):
        def __init__(self):
            super().__init__()
            self.told, self.head = [], nn.Linear(4, 4)

        def log(self, *args):
            self.told.append(args)

        def validation_step(self, batch, batch_idx):
            out = self.head(self(batch[0]))
            self.log("early", out.mean())
            return F.cross_entropy(out, batch[1])

    module = evaluated(Logs)
    seen = observe(module, Plain.batch())
    assert seen.way == STEP
    assert check_replay(seen, module, nullcontext).is_equal
    assert len(module.told) == 1
    assert "log" not in vars(module)
    with quiet(module):
        module.log("nothing")
    module.log("something")
    assert len(module.told) == 2


def test_users_handlers_let_the_end_of_a_replay_pass() -> None:
    class Catches(Plain):
        closed = 0

        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 4)

        def validation_step(self, batch, batch_idx):
            try:
                return F.cross_entropy(self.head(self(batch[0])), batch[1])
            except Exception:  # noqa: BLE001
                return None
            finally:
                type(self).closed += 1

    module = evaluated(Catches)
    assert check(module).whole == 0
    assert module.closed == 3  # itself, the whole again, half of it


def test_a_batch_that_was_written_into_after_the_call_is_not_replayed_as_if_it_were_not() -> None:
    class WritesLater(Plain):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 4)

        def validation_step(self, batch, batch_idx):
            loss = F.cross_entropy(self.head(self(batch[0] * 2)), batch[1])
            batch[0].zero_()
            return loss

    result = check(evaluated(WritesLater))
    assert result.whole is None
    assert "the images were not kept" in result.sentence


def test_rows_choose_the_other_arguments() -> None:
    module, batch = CASES["Siamese"].make()
    seen = observe(module.eval(), batch)
    rows = torch.tensor([3, 3, 5])
    with torch.no_grad():
        scores = replay_call(seen, batch[0][rows], rows)
        expected = module(batch[0][rows], batch[1][rows])
    assert torch.equal(scores, expected)
    with torch.no_grad():  # more images than were seen
        assert len(replay_call(observe(*CASES["Control"].make()), images(20))) == 20


def test_bfloat16_is_equal_within_its_own_precision_context() -> None:
    module = evaluated(Plain)
    with torch.autocast("cpu", dtype=torch.bfloat16), StepObserver(module) as observer, torch.no_grad():
        module.validation_step(Plain.batch(), 0)
    seen = observed_call(observer.record)
    inside = check_replay(seen, module, lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    assert inside.whole == 0
    assert inside.rows_are_independent
    outside = check_replay(seen, module, lambda: leaving_no_trace(module))
    assert outside.whole > 0


# --- the normalization


def test_a_normalization_is_proven_by_its_line() -> None:
    x = images()
    mean, std = normalization_between(x, (x - MEAN) / STD)
    torch.testing.assert_close(mean, MEAN.flatten(), rtol=0, atol=1e-5)
    torch.testing.assert_close(std, STD.flatten(), rtol=0, atol=1e-5)


def test_of_bytes_it_is_in_bytes() -> None:
    x = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    mean, std = normalization_between(x, (x / 255 - 0.5) / 0.25)
    torch.testing.assert_close(mean, torch.full((3,), 127.5), rtol=1e-5, atol=0)
    torch.testing.assert_close(std, torch.full((3,), 63.75), rtol=1e-5, atol=0)


def test_of_channels_last_too() -> None:
    x = torch.rand(4, 8, 8, 3)
    mean, _ = normalization_between(x, x.permute(0, 3, 1, 2) * 2 - 1)
    torch.testing.assert_close(mean, torch.full((3,), 0.5), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x + 0.01 * torch.randn_like(x),
        lambda x: x.flip(-1),
        lambda x: 1 - x,
        lambda x: x.clamp(0, 0.9),
        lambda x: x[:, [2, 1, 0]],
        lambda x: x[:, :, 1:, 1:],
        lambda x: (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True),
        lambda x: torch.zeros_like(x),
        lambda x: x**1.05,
    ],
)
def test_nothing_else_is_taken_for_one(change) -> None:
    assert normalization_between(images(), change(images())) is None
    x = images()
    assert normalization_between(x, change(x)) is None


def test_the_figures_of_the_check() -> None:
    """The tolerance stands far from rounding and far from the smallest true difference."""
    module = evaluated(Plain)
    sound = check(module)
    assert sound.half < 0.01 * sound.tolerance
    torch.manual_seed(0)
    differing = check(evaluated(Noisy))
    assert differing.whole > 5 * differing.tolerance


def test_the_step_of_any_object() -> None:
    class Bare:
        def __init__(self):
            self.model, self.head = Net(0).eval(), nn.Linear(8, 4)

        def validation_step(self, batch, batch_idx):
            return F.cross_entropy(self.head(self.model(batch[0])), batch[1])

    torch.manual_seed(0)
    bare = Bare()
    seen = observe(bare, Task.batch() if hasattr(Task, "batch") else Plain.batch())

    @contextmanager
    def nothing():
        yield

    assert check_replay(seen, bare, nothing).whole == 0
    assert set(vars(bare)) == {"model", "head"}


@pytest.mark.parametrize("name", ["Control", "HeadInTheLoss", "FiveCrops", "KeywordsAndLossInside"])
def test_gradients_flow_through_a_replay(name: str) -> None:
    module, batch = CASES[name].make()
    seen = observe(module.eval(), batch)
    pictures = observed_images(seen).clone().requires_grad_()
    with torch.enable_grad():
        scores = replayed_scores(seen, module, pictures)
    (slope,) = torch.autograd.grad(scores[:, 1].sum(), pictures)
    assert slope.abs().flatten(1).sum(1).gt(0).all()


@pytest.mark.parametrize("name", ["Control", "HeadInTheLoss"])
@pytest.mark.parametrize("how", ["submodule", "in place", "step"])
def test_compiled_ones_replay_equally(name: str, how: str) -> None:
    torch._dynamo.reset()
    module, batch = CASES[name].make()
    module.eval()
    if how == "submodule":
        module.net = torch.compile(module.net, backend="eager")
    elif how == "in place":
        module.net.compile(backend="eager")
    else:
        module.validation_step = torch.compile(module.validation_step, backend="eager")
    seen = observe(module, batch)
    assert check(module, seen=seen).whole == 0
    torch._dynamo.reset()
