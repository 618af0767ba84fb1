"""Validation steps as people write them, and what is known of each: which network it validates on which images,
which output holds the scores, which part of the batch is the label, and which task it is.
"""

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

N = 8


class Net(nn.Module):
    def __init__(self, out: int = 4, channels: int = 3, width: int = 8) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.fc = nn.Linear(width, out) if out else nn.Identity()

    def embed(self, x: Tensor) -> Tensor:
        return self.features(x).amax(dim=(2, 3))

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.embed(x))


class Task(nn.Module):
    """A module with a validation step; cases override what differs."""

    def __init__(self, net: nn.Module | None = None, **options: int) -> None:
        super().__init__()
        self.net = net if net is not None else Net(**options)

    def forward(self, x: Any) -> Any:
        return self.net(x)

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        out = self(x)
        return F.cross_entropy(out, y), (out.argmax(1) == y).float().mean()


@dataclass
class Case:
    """A step, its batch, and what is true of it.

    Args:
        make: Module and batch.
        label: The part of the batch.
        plain: Whether the label has the part's own values.
        says: What must be said beyond what is explained; () where nothing more may be said.
        others: The alternatives, as (argument, value).
        equal: Whether a replay gives the same.
        half: Whether half of the batch gives the same as the whole.
    """

    make: Callable[[], tuple[Any, Any]]
    network: str | None = ""
    image: tuple | None = (0,)
    image_is_plain: bool = True
    scores: tuple | None = ()
    label: tuple | None = (1,)
    plain: bool = True
    task: str = "multiclass"
    way: str = "call"
    form: str | None = None
    loss: str | None = "cross_entropy"
    says: tuple[str, ...] = ()
    others: list[tuple[str, Any]] = field(default_factory=list)
    equal: bool = True
    half: bool = True
    classes: int | None = None
    dense: bool = False


CASES: dict[str, Case] = {}


def images(count: int = N, channels: int = 3, size: int = 16) -> Tensor:
    return torch.rand(count, channels, size, size)


def labels(classes: int = 4) -> Tensor:
    return torch.arange(N) % classes


def case(**facts: Any) -> Callable:
    """A class of a module whose ``batch`` makes its batch is a case."""

    def add(kind: type) -> type:
        name = kind.__name__

        def make() -> tuple[Any, Any]:
            torch.manual_seed(0)
            return kind(), kind.batch()  # type: ignore[attr-defined]

        CASES[name] = Case(make=make, **facts)
        return kind

    return add


class Plain(Task):
    @staticmethod
    def batch() -> Any:
        return images(), labels()


# --- the plain ones, and how the network is called


@case(form="logits")
class Control(Plain):
    pass


@case(network="net")
class CallsTheNetwork(Plain):
    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch[0]), batch[1])


@case(network="net")
class CallsForward(Plain):
    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.forward(batch[0]), batch[1])


@case(network="net.features", way="step", scores=None)
class CallsTheNetworksForward(Plain):
    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.net.forward(batch[0]), batch[1])


@case()
class LossModule(Plain):
    def __init__(self):
        super().__init__()
        self.criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

    def validation_step(self, batch, batch_idx):
        return self.criterion(self(batch[0]), batch[1])


@case(loss="nll_loss", form="logits")
class LogSoftmaxInStep(Plain):
    def validation_step(self, batch, batch_idx):
        return F.nll_loss(F.log_softmax(self(batch[0]), 1), batch[1])


@case(loss="nll_loss", form="log-probabilities")
class LogSoftmaxInForward(Plain):
    def forward(self, x):
        return self.net(x).log_softmax(1)

    def validation_step(self, batch, batch_idx):
        return F.nll_loss(self(batch[0]), batch[1])


@case()
class Temperature(Plain):
    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]) / 2.0, batch[1])


@case(network="nets[0]")
class NetworkInAList(Plain):
    def __init__(self):
        super().__init__()
        self.nets = [Net().eval()]
        del self.net

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.nets[0](batch[0]), batch[1])


@case(network="nets['b']")
class NetworkInADict(Plain):
    def __init__(self):
        super().__init__()
        self.nets = {"a": Net().eval(), "b": Net().eval()}

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.nets["b"](batch[0]), batch[1])


@case(network="net")
class TwoNamesForOne(Plain):
    def __init__(self):
        super().__init__()
        self.alias = self.net

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.alias(batch[0]), batch[1])


@case()
class ExtraArguments(Plain):
    def forward(self, x, scale, flag=True):
        return self.net(x) * scale if flag else self.net(x)

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0], 2.0, flag=True), batch[1])


@case(image=("image",), label=("label",))
class WholeBatch(Task):
    @staticmethod
    def batch():
        return {"image": images(), "label": labels()}

    def forward(self, batch):
        return self.net(batch["image"])

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch), batch["label"])


@case(image=("pixel_values",), label=("labels",), scores=("logits",))
class KeywordsAndLossInside(Task):
    """As Hugging Face does: ``self(**batch)``, the loss inside, a mapping out."""

    @staticmethod
    def batch():
        return {"pixel_values": images(), "labels": labels()}

    def forward(self, pixel_values, labels=None):
        logits = self.net(pixel_values)
        loss = F.cross_entropy(logits.view(-1, 4), labels.view(-1)) if labels is not None else None
        return OrderedDict(loss=loss, logits=logits, hidden=self.net.embed(pixel_values))

    def validation_step(self, batch, batch_idx):
        return self(**batch)["loss"]


@dataclass
class Sample:
    picture: Tensor
    truth: Tensor
    ident: Tensor


@case(image=("picture",), label=("truth",))
class DataclassBatch(Task):
    @staticmethod
    def batch():
        return Sample(images(), labels(), torch.arange(N))

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch.picture), batch.truth)


Pair = namedtuple("Pair", "seen truth")


@case(image=("seen",), label=("truth",))
class NamedTupleBatch(Task):
    @staticmethod
    def batch():
        return Pair(images(), labels())

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch.seen), batch.truth)


@case(image=("a", "data", "img"), label=("a", "y"))
class NestedBatch(Task):
    @staticmethod
    def batch():
        return {"ids": torch.arange(N), "a": {"y": labels(), "data": {"img": images()}}}

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch["a"]["data"]["img"]), batch["a"]["y"])


class Volume3d(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv3d(1, 4, 3), nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(self.conv(x).amax((2, 3, 4)))


@case()
class Volumes(Task):
    def __init__(self):
        super().__init__(Volume3d())

    @staticmethod
    def batch():
        return torch.rand(N, 1, 8, 8, 8), labels()


@case()
class ThirteenBands(Task):
    def __init__(self):
        super().__init__(channels=13)

    @staticmethod
    def batch():
        return images(channels=13), labels()


@case(image=("a", 0), label=("a", 1))
class CombinedLoader(Task):
    @staticmethod
    def batch():
        return {"a": [images(), labels()], "b": [images(), labels()]}

    def validation_step(self, batch, batch_idx):
        return super().validation_step(batch["a"], batch_idx)


@case(network="net")
class WrappedInDataParallel(Plain):
    def __init__(self):
        super().__init__(nn.DataParallel(Net()))

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch[0]), batch[1])


@case()
class Checkpointed(Plain):
    def forward(self, x):
        features = torch.utils.checkpoint.checkpoint(self.net.features, x, use_reentrant=False)
        return self.net.fc(features.amax((2, 3)))


@case()
class GradientInTheStep(Plain):
    def validation_step(self, batch, batch_idx):
        with torch.enable_grad():
            x = batch[0].clone().requires_grad_()
            loss = F.cross_entropy(self(x), batch[1])
            (slope,) = torch.autograd.grad(loss, x)
        return loss.detach() + slope.square().mean()


# --- (A) one number an image: a logit, a probability, or a measure


@case(loss="binary_cross_entropy", form="probabilities", task="binary")
class SigmoidInForward(Task):
    def __init__(self):
        super().__init__(out=1)

    @staticmethod
    def batch():
        return images(), labels(2)[:, None].float()

    def forward(self, x):
        return torch.sigmoid(self.net(x))

    def validation_step(self, batch, batch_idx):
        p = self(batch[0])
        return F.binary_cross_entropy(p, batch[1]), ((p > 0.5).float() == batch[1]).float().mean()


@case(loss="binary_cross_entropy", form="logits", task="binary")
class SigmoidInStep(SigmoidInForward):
    def forward(self, x):
        return self.net(x)

    def validation_step(self, batch, batch_idx):
        return F.binary_cross_entropy(torch.sigmoid(self(batch[0])), batch[1])


@case(loss="binary_cross_entropy_with_logits", form="logits", task="binary")
class OneLogit(SigmoidInForward):
    def forward(self, x):
        return self.net(x)

    def validation_step(self, batch, batch_idx):
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])


@case(loss="binary_cross_entropy_with_logits", task="binary")
class Squeezed(Task):
    def __init__(self):
        super().__init__(out=1)

    @staticmethod
    def batch():
        return images(), labels(2).float()

    def forward(self, x):
        return self.net(x).squeeze()

    def validation_step(self, batch, batch_idx):
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])


@case(loss="binary_cross_entropy_with_logits", task="binary", half=True)
class SqueezedBatchOfOne(Squeezed):
    @staticmethod
    def batch():
        return images(1), torch.tensor(1.0)


@case(loss="binary_cross_entropy_with_logits", task="binary")
class TrueOrFalse(Squeezed):
    @staticmethod
    def batch():
        return images(), labels(2).bool()

    def forward(self, x):
        return self.net(x)

    def validation_step(self, batch, batch_idx):
        p = self(batch[0])[:, 0]
        return F.binary_cross_entropy_with_logits(p, batch[1].float()), ((p > 0) == batch[1]).float().mean()


@case(loss="l1_loss", task="regression")
class Age(Task):
    def __init__(self):
        super().__init__(out=1)

    @staticmethod
    def batch():
        return images(), 20 + 40 * torch.rand(N, 1)

    def forward(self, x):
        return 40 + 20 * self.net(x)

    def validation_step(self, batch, batch_idx):
        return F.l1_loss(self(batch[0]), batch[1]), (self(batch[0]) - batch[1]).abs().mean()


@case(loss="l1_loss", task="regression")
class WholeYears(Age):
    @staticmethod
    def batch():
        return images(), torch.randint(20, 60, (N,))

    def forward(self, x):
        return super().forward(x).squeeze(1)

    def validation_step(self, batch, batch_idx):
        p = self(batch[0])
        return F.l1_loss(p, batch[1].float()), (p - batch[1]).abs().mean()


@case(loss="l1_loss", task="regression")
class SortedGrades(Age):
    """A batch in which the grades are 0 and 1 only."""

    @staticmethod
    def batch():
        return images(), (torch.arange(N) > 3).float()[:, None]


@case(loss="mse_loss", task="regression", image=("image",), label=("boneage",))
class BoneAge(Task):
    """The patient's sex stands beside the age."""

    def __init__(self):
        super().__init__(out=1)

    @staticmethod
    def batch():
        return {"image": images(), "boneage": torch.randn(N), "male": labels(2)}

    def validation_step(self, batch, batch_idx):
        p = self(batch["image"])[:, 0]
        return F.mse_loss(p, batch["boneage"]), (p - batch["boneage"]).abs().mean()


@case(loss="mse_loss", task="regression")
class Boxes(Plain):
    @staticmethod
    def batch():
        return images(), torch.rand(N, 4)

    def validation_step(self, batch, batch_idx):
        return F.mse_loss(self(batch[0]), batch[1])


@case(loss="gaussian_nll_loss", task="regression", scores=(0,))
class MeanAndVariance(Task):
    def __init__(self):
        super().__init__(out=2)

    @staticmethod
    def batch():
        return images(), torch.rand(N)

    def forward(self, x):
        mean, spread = self.net(x).chunk(2, 1)
        return mean, F.softplus(spread)

    def validation_step(self, batch, batch_idx):
        mean, variance = self(batch[0])
        return F.gaussian_nll_loss(mean.flatten(), batch[1], variance.flatten())


@case(loss="mse_loss", task="multiclass", plain=False, form="logits")
class BrierScore(Plain):
    def validation_step(self, batch, batch_idx):
        return F.mse_loss(self(batch[0]).softmax(1), F.one_hot(batch[1], 4).float())


# --- (B) which output


@case(scores=(1,))
class FeaturesAndLogits(Plain):
    def forward(self, x):
        f = self.net.embed(x)
        return f, self.net.fc(f)

    def validation_step(self, batch, batch_idx):
        _, out = self(batch[0])
        return F.cross_entropy(out, batch[1]), (out.argmax(1) == batch[1]).float().mean()


@case(way="step", scores=None)
class HeadInTheLoss(Plain):
    def __init__(self):
        super().__init__(out=0)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return F.normalize(self.net.embed(x))

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(10 * self.head(self(batch[0])), batch[1])


@case(network="net", way="step", scores=None)
class BackboneWithPooledOutput(Plain):
    def __init__(self):
        super().__init__()
        self.net.fc = nn.Identity()
        self.head = nn.Linear(8, 4)

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.head(self.net(batch[0])), batch[1])


@case(task="none", label=None, loss=None, scores=None,
      says=("several outputs may be class scores", "compares with no label (mse_loss with batch[0])"),
      others=[("scores", 2)])  # fmt: skip
class Vae(Plain):
    def __init__(self):
        super().__init__(out=0)
        self.mu, self.log_var = nn.Linear(8, 6), nn.Linear(8, 6)
        self.decode = nn.Sequential(nn.Linear(6, 3 * 256), nn.Unflatten(1, (3, 16, 16)))

    def forward(self, x):
        h = self.net.embed(x)
        mu, log_var = self.mu(h), self.log_var(h)
        return self.decode(mu), mu, log_var

    def validation_step(self, batch, batch_idx):
        x, _ = batch
        r, mu, log_var = self(x)
        return F.mse_loss(r, x) + (mu**2 + log_var.exp() - log_var).mean()


@case(scores=("y_hat",))
class AutoencoderWithClassHead(Vae):
    def forward(self, x):
        h = self.net.embed(x)
        return {"recon": self.decode(self.mu(h)), "z": h, "y_hat": self.log_var(h)}

    def validation_step(self, batch, batch_idx):
        o = self(batch[0])
        return F.mse_loss(o["recon"], batch[0]) + F.cross_entropy(o["y_hat"], batch[1])


@case(task="none", label=None, loss=None, image=(0, 0),
      says=("runs 2 times", "compares with no label (cross_entropy with what your step made)"),
      others=[("images", (0, 1))])  # fmt: skip
class TwoViews(Plain):
    @staticmethod
    def batch():
        return [images(), images()], labels()

    def validation_step(self, batch, batch_idx):
        (a, b), _ = batch
        a, b = F.normalize(self(a)), F.normalize(self(b))
        return F.cross_entropy(a @ b.T / 0.1, torch.arange(len(a)))


@case(task="none", label=None, loss=None,
      says=("runs 2 times", "compares with no label"), others=[("images", 1)])  # fmt: skip
class TwoFlatViews(TwoViews):
    @staticmethod
    def batch():
        return images(), images()

    def validation_step(self, batch, batch_idx):
        return super().validation_step((batch, None), batch_idx)


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -g


@case(scores=(1,))
class DomainFirst(Plain):
    def __init__(self):
        super().__init__()
        self.domain = nn.Linear(8, 2)

    def forward(self, x):
        f = self.net.embed(x)
        return self.domain(Reverse.apply(f)), self.net.fc(f)

    def validation_step(self, batch, batch_idx):
        d, c = self(batch[0])
        domain = F.cross_entropy(d, torch.zeros(N, dtype=torch.long))
        return domain + F.cross_entropy(c, batch[1]), (c.argmax(1) == batch[1]).float().mean()


@case(scores=(1,), says=("losses take output 1 and output 0",), others=[("scores", 0)])
class SeveralExits(Plain):
    def __init__(self):
        super().__init__()
        self.early = nn.Linear(8, 4)

    def forward(self, x):
        a = self.net.features[:4](x)
        return [self.early(a.amax((2, 3))), self.net.fc(self.net.features[4:](a).amax((2, 3)))]

    def validation_step(self, batch, batch_idx):
        o = self(batch[0])
        return sum(F.cross_entropy(e, batch[1]) for e in o), (o[-1].argmax(1) == batch[1]).float().mean()


@case(label=(2,), scores=("race",), says=('"race" is explained. Inputs(scores=\'gender\') for the other',),
      others=[("scores", "gender")])  # fmt: skip
class TwoTasks(Task):
    def __init__(self):
        super().__init__(out=0)
        self.race, self.gender = nn.Linear(8, 4), nn.Linear(8, 2)

    @staticmethod
    def batch():
        return images(), labels(2), labels(4)

    def forward(self, x):
        f = self.net.embed(x)
        return {"gender": self.gender(f), "race": self.race(f)}

    def validation_step(self, batch, batch_idx):
        x, gender, race = batch
        o = self(x)
        loss = F.cross_entropy(o["gender"], gender) + F.cross_entropy(o["race"], race)
        return loss, (o["race"].argmax(1) == race).float().mean()


class TeacherTask(Plain):
    def __init__(self):
        super().__init__()
        self.teacher = Net().requires_grad_(False)


@case(scores=(0,))
class TeacherFirst(TeacherTask):
    def forward(self, x):
        t = self.teacher(x)
        return self.net(x), t

    def validation_step(self, batch, batch_idx):
        s, t = self(batch[0])
        return F.cross_entropy(s, batch[1]) + F.mse_loss(s, t), (s.argmax(1) == batch[1]).float().mean()


@case(scores=(0,))
class TeacherLast(TeacherFirst):
    def forward(self, x):
        return self.net(x), self.teacher(x)


@case(scores=(1,))
class TeachersOutputFirst(TeacherTask):
    def forward(self, x):
        return self.teacher(x), self.net(x)

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0])[1], batch[1])


@case(network="net")
class DistillationByTheStep(TeacherTask):
    def validation_step(self, batch, batch_idx):
        t, s = self.teacher(batch[0]), self.net(batch[0])
        return F.mse_loss(s, t) + F.cross_entropy(s, batch[1])


@case(network="net", says=('your step validates net and teacher on the same labels; net is explained. network="teacher"',),
      others=[("network", "teacher")])  # fmt: skip
class MeanTeacher(TeacherTask):
    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch[0]), batch[1]) + F.cross_entropy(
            self.teacher(batch[0]), batch[1]
        )


@case(label=(2,), scores=(1,), says=())
class UNetWithClassHead(Task):
    def __init__(self):
        super().__init__(out=0)
        self.seg, self.cls = nn.ConvTranspose2d(8, 1, 2, 2), nn.Linear(8, 4)

    @staticmethod
    def batch():
        return images(), torch.randint(0, 2, (N, 16, 16)), labels()

    def forward(self, x):
        f = self.net.features(x)
        return self.seg(f), self.cls(f.amax((2, 3)))

    def validation_step(self, batch, batch_idx):
        x, mask, y = batch
        s, c = self(x)
        return F.binary_cross_entropy_with_logits(s[:, 0], mask.float()) + F.cross_entropy(c, y)


REGION = "your scores are one for each class and place; target=region(channel)"


@case(dense=True, says=(REGION,))
class Segmentation(Task):
    def __init__(self):
        super().__init__(out=0)
        self.seg = nn.ConvTranspose2d(8, 5, 2, 2)

    @staticmethod
    def batch():
        return images(), torch.randint(0, 5, (N, 16, 16))

    def forward(self, x):
        return self.seg(self.net.features(x))

    def validation_step(self, batch, batch_idx):
        s = self(batch[0])
        return F.cross_entropy(s, batch[1]), (s.argmax(1) == batch[1]).float().mean()


@case(
    dense=True,
    says=(REGION,),
    task="binary",
    loss="binary_cross_entropy_with_logits",
    image=("image",),
    label=("mask",),
)
class SegmentationWithFloatMasks(Segmentation):
    def __init__(self):
        super().__init__()
        self.seg = nn.ConvTranspose2d(8, 1, 2, 2)
        self.criterion = nn.BCEWithLogitsLoss()

    @staticmethod
    def batch():
        return {"image": images(), "mask": torch.randint(0, 2, (N, 1, 16, 16)).float()}

    def validation_step(self, batch, batch_idx):
        return self.criterion(self(batch["image"]), batch["mask"])
