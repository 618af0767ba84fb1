"""More validation steps: metadata beside labels, images computed in the step, networks of one's own, steps without a
known loss, steps that no single call explains.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchmetrics import Accuracy, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from support.observed_steps import CASES, Net, Plain, SigmoidInForward, Task, case, images, labels

N = 8

__all__ = ["CASES"]

# --- (B) numbers that are no label


@case(image=(1,), label=(2,))
class IndexFirst(Task):
    @staticmethod
    def batch():
        return torch.arange(N), images(), labels()

    def validation_step(self, batch, batch_idx):
        return super().validation_step(batch[1:], batch_idx)


@case(image=("img",), label=("lab",), task="multilabel", loss="binary_cross_entropy_with_logits")
class SeveralLabelsAndIndex(Task):
    def __init__(self):
        super().__init__(out=14, channels=1)

    @staticmethod
    def batch():
        return {
            "idx": torch.arange(N),
            "lab": torch.randint(0, 2, (N, 14)).float(),
            "img": images(channels=1),
        }

    def validation_step(self, batch, batch_idx):
        out = self(batch["img"])
        loss = F.binary_cross_entropy_with_logits(out, batch["lab"])
        return loss, ((out > 0) == (batch["lab"] > 0)).float().mean()


@case(label=(2,))
class CoarseAndFine(Task):
    @staticmethod
    def batch():
        return images(), labels() // 2, labels()

    def validation_step(self, batch, batch_idx):
        return super().validation_step((batch[0], batch[2]), batch_idx)


@case(image=("image",), label=("findings",), task="multilabel", loss="binary_cross_entropy_with_logits")
class HospitalBesideFindings(Plain):
    @staticmethod
    def batch():
        return {"image": images(), "findings": torch.eye(4).repeat(2, 1), "site": labels(2)}

    def validation_step(self, batch, batch_idx):
        return F.binary_cross_entropy_with_logits(self(batch["image"]), batch["findings"])


@case(task="multilabel", loss="binary_cross_entropy_with_logits")
class WeightedSeveralLabels(Plain):
    @staticmethod
    def batch():
        return images(), torch.randint(0, 2, (N, 4)).float(), torch.ones(N)

    def validation_step(self, batch, batch_idx):
        x, t, weight = batch
        return (F.binary_cross_entropy_with_logits(self(x), t, reduction="none").mean(1) * weight).mean()


@case(task="multilabel", loss="binary_cross_entropy", form="probabilities")
class SeveralProbabilities(SigmoidInForward):
    def __init__(self):
        super().__init__()
        self.net = Net(4)

    @staticmethod
    def batch():
        return images(), torch.randint(0, 2, (N, 4)).float()


@case(image=("image",), label=("target",), plain=False)
class LabelsFromOne(Task):
    @staticmethod
    def batch():
        return {"image": images(), "label": ["a"] * N, "target": labels() + 1}

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch["image"]), batch["target"] - 1)


@case(plain=False)
class LabelsFromOneWiderHead(Task):
    def __init__(self):
        super().__init__(out=6)

    @staticmethod
    def batch():
        return images(), labels() + 1

    def validation_step(self, batch, batch_idx):
        return super().validation_step((batch[0], batch[1] - 1), batch_idx)


@case(plain=False)
class LabelsWrittenInto(LabelsFromOne):
    """The part itself, but other numbers than the batch had."""

    @staticmethod
    def batch():
        return images(), labels() + 1

    def validation_step(self, batch, batch_idx):
        y = batch[1].clone() if self.training else batch[1]
        y -= 1
        return F.cross_entropy(self(batch[0]), y)


CASES["LabelsFromOne"].label = ("target",)
CASES["LabelsWrittenInto"].image = (0,)


@case(
    plain=False,
    task="multilabel",
    loss="binary_cross_entropy_with_logits",
    says=("thresholds of an ordered label",),
)
class Coral(Task):
    def __init__(self):
        super().__init__(out=3)

    @staticmethod
    def batch():
        return images(), labels()

    def validation_step(self, batch, batch_idx):
        o = self(batch[0])
        levels = (batch[1][:, None] > torch.arange(3)).float()
        return F.binary_cross_entropy_with_logits(o, levels), ((o > 0).sum(1) == batch[1]).float().mean()


@case(plain=False, loss="binary_cross_entropy_with_logits")
class OneHotInTheStep(Plain):
    def validation_step(self, batch, batch_idx):
        return F.binary_cross_entropy_with_logits(self(batch[0]), F.one_hot(batch[1], 4).float())


@case()
class SoftLabels(Plain):
    @staticmethod
    def batch():
        return images(), torch.rand(N, 4).softmax(1)

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])


# --- (C) what stands between the batch and the network

MEAN, STD = (
    torch.tensor([0.485, 0.456, 0.406])[:, None, None],
    torch.tensor([0.229, 0.224, 0.225])[:, None, None],
)


@case(image_is_plain=False, says=("your step normalizes batch[0]: mean 0.485, 0.456, 0.406",))
class NormalizesInTheStep(Plain):
    def validation_step(self, batch, batch_idx):
        return super().validation_step(((batch[0] - MEAN) / STD, batch[1]), batch_idx)


@case(image_is_plain=False, says=("your step normalizes batch[0]: mean 51",))
class BytesInTheBatch(Plain):
    @staticmethod
    def batch():
        return torch.randint(0, 256, (N, 3, 16, 16), dtype=torch.uint8), labels()

    def validation_step(self, batch, batch_idx):
        return super().validation_step(((batch[0].float() / 255 - 0.2) / 0.2, batch[1]), batch_idx)


@case(image_is_plain=False)
class DoublesInTheBatch(Plain):
    @staticmethod
    def batch():
        return images().double(), labels()

    def validation_step(self, batch, batch_idx):
        return super().validation_step((batch[0].float(), batch[1]), batch_idx)


@case(image_is_plain=False)
class ChannelsLast(Plain):
    @staticmethod
    def batch():
        return images().permute(0, 2, 3, 1), labels()

    def validation_step(self, batch, batch_idx):
        return super().validation_step((batch[0].permute(0, 3, 1, 2), batch[1]), batch_idx)


@case(image_is_plain=False, says=("computed from batch[0] (24 x 24 -> 16 x 16); those are shown",))
class CropsInTheStep(Plain):
    @staticmethod
    def batch():
        return images(size=24), labels()

    def validation_step(self, batch, batch_idx):
        return super().validation_step((batch[0][:, :, 4:20, 4:20], batch[1]), batch_idx)


@case(image_is_plain=False, says=("computed from batch[0]; those are shown",))
class NoiseInTheStep(Plain):
    def validation_step(self, batch, batch_idx):
        return super().validation_step((batch[0] + torch.randn_like(batch[0]), batch[1]), batch_idx)


@case(network="ema", loss=None)
class ItsOwnAverage(Plain):
    def __init__(self):
        super().__init__()
        self.ema = copy.deepcopy(self.net)

    def validation_step(self, batch, batch_idx):
        return (self.ema(batch[0]).argmax(1) == batch[1]).float().mean()


@case(image=(1,), label=(2,))
class SecondView(Task):
    @staticmethod
    def batch():
        return images(), images(), labels()

    def validation_step(self, batch, batch_idx):
        return super().validation_step((batch[1], batch[2]), batch_idx)


@case(way="step", scores=None, image_is_plain=False)
class FiveCrops(Plain):
    @staticmethod
    def batch():
        return torch.rand(N, 5, 3, 16, 16), labels()

    def validation_step(self, batch, batch_idx):
        out = self(batch[0].flatten(0, 1)).unflatten(0, (-1, 5)).mean(1)
        return F.cross_entropy(out, batch[1]), (out.argmax(1) == batch[1]).float().mean()


@case(way="step", scores=None)
class TestTimeFlips(Plain):
    def validation_step(self, batch, batch_idx):
        out = (self(batch[0]) + self(batch[0].flip(-1))) / 2
        return F.cross_entropy(out, batch[1])


@case(image_is_plain=False, says=("your step normalizes batch[0]: mean 0, 0, 0",))
class WritesIntoTheBatch(Plain):
    def validation_step(self, batch, batch_idx):
        batch[0].mul_(2)
        return super().validation_step(batch, batch_idx)


CASES["WritesIntoTheBatch"].says = ("your step normalizes batch[0]: mean ",)


@case()
class NetworkWritesIntoItsImages(Plain):
    def forward(self, x):
        return self.net(x.sub_(0.5))


@case()
class CropsInForward(Plain):
    def forward(self, x):
        return self.net(x[:, :, :8, :8])


# --- networks


class TwoBranches(Task):
    def __init__(self):
        super().__init__(out=0)
        self.depth, self.fc = Net(0, channels=1), nn.Linear(16, 4)

    @staticmethod
    def batch():
        return images(channels=4), labels()

    def forward(self, x):
        return self.fc(torch.cat([self.net(x[:, :3]), self.depth(x[:, 3:])], 1))


case()(TwoBranches)


@case(label=(2,), says=("self takes 2 images; one is replaced, the others stay with their row. Inputs(images=1)",),
      others=[("images", 1)])  # fmt: skip
class Siamese(Task):
    def __init__(self):
        super().__init__(out=0)
        self.head = nn.Linear(8, 2)

    @staticmethod
    def batch():
        return images(), images(), labels(2)

    def forward(self, a, b):
        return self.head((self.net.embed(a) - self.net.embed(b)).abs())

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(*batch[:2]), batch[2])


@case(task="none", label=None, loss=None, network="net", says=("compares pairs (cosine_embedding_loss)", "runs 2 times"),
      others=[("images", 1)])  # fmt: skip
class PairsOfEmbeddings(Siamese):
    def validation_step(self, batch, batch_idx):
        return F.cosine_embedding_loss(self.net(batch[0]), self.net(batch[1]), batch[2].float() * 2 - 1)


@case(half=False)
class FixedBatch(Plain):
    def __init__(self):
        super().__init__(out=0)
        self.rnn, self.head = nn.LSTM(8 * 8, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x):
        f = self.net.features(x).permute(0, 3, 1, 2).flatten(2)
        h = torch.zeros(1, N, 8)
        return self.head(self.rnn(f, (h, h))[0][:, -1])

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])


@case()
class Clips(Task):
    def __init__(self):
        super().__init__(out=0)
        self.rnn, self.head = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 4)

    @staticmethod
    def batch():
        return torch.rand(N, 4, 3, 16, 16), labels()

    def forward(self, x):
        f = self.net.embed(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.head(self.rnn(f)[0][:, -1])


@case(network="net", task="none", label=None, loss=None, says=("no label was seen",))
class Gan(Plain):
    def __init__(self):
        super().__init__(out=1)
        self.generator = nn.Sequential(nn.Linear(4, 768), nn.Unflatten(1, (3, 16, 16)))

    def forward(self, z):
        return self.generator(z)

    def validation_step(self, batch, batch_idx):
        fake = self(torch.randn(N, 4))
        return F.softplus(self.net(fake)).mean() + F.softplus(-self.net(batch[0])).mean()


@case(network=None, image=None, scores=None, label=None, loss=None, task="none", way="unseen")
class Detection(Plain):
    @staticmethod
    def batch():
        return [torch.rand(3, 16, 16 + i % 3) for i in range(N)], [
            {"boxes": torch.zeros(1, 4), "labels": torch.ones(1, dtype=torch.long)} for _ in range(N)
        ]

    def forward(self, pictures):
        return [{"boxes": torch.zeros(1, 4), "scores": self.net(p[None])[0]} for p in pictures]

    def validation_step(self, batch, batch_idx):
        return sum(o["scores"].sum() for o in self(batch[0]))


@case(way="step", scores=None, image=(0,))
class ListOfImages(Plain):
    @staticmethod
    def batch():
        return [torch.rand(3, 16, 16) for _ in range(N)], labels()

    def forward(self, pictures):
        return torch.cat([self.net(p[None]) for p in pictures])

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])


@case(way="step", scores=None, says=("made with the labels (a margin)",))
class ArcFace(Plain):
    def __init__(self):
        super().__init__(out=0)
        self.weight = nn.Parameter(torch.randn(4, 8))

    def validation_step(self, batch, batch_idx):
        cosine = F.normalize(self(batch[0])) @ F.normalize(self.weight).T
        return F.cross_entropy(10 * (cosine - 0.3 * F.one_hot(batch[1], 4)), batch[1])


@case(way="step", scores=None, half=False, says=("made with the labels",))
class Prototypes(Plain):
    def validation_step(self, batch, batch_idx):
        f = self(batch[0])
        centres = torch.stack([f[batch[1] == c].mean(0) for c in range(4)])
        return F.cross_entropy(-torch.cdist(f, centres), batch[1])


@case(label=(1,))
class RowsLeftOut(Plain):
    def validation_step(self, batch, batch_idx):
        out = self(batch[0])
        certain = batch[1] != 3
        return F.cross_entropy(out[certain], batch[1][certain])


@case(way="step", scores=None)
class LocaliserAndClassifier(Plain):
    def __init__(self):
        super().__init__()
        self.loc = nn.Conv2d(3, 3, 3, padding=1)

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(self.loc(batch[0])), batch[1])


CASES["LocaliserAndClassifier"].network = "loc"


@case(label=("y",), image=("x",))
class LateFusion(Plain):
    def __init__(self):
        super().__init__(out=0)
        self.head = nn.Linear(9, 4)

    @staticmethod
    def batch():
        return {"x": images(), "sex": labels(2), "y": labels()}

    def forward(self, x, sex):
        return self.head(torch.cat([self.net(x), sex[:, None].float()], 1))

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch["x"], batch["sex"]), batch["y"])


@case(way="step", scores=None, network="net", label=("y",), image=("x",))
class LateFusionInTheStep(LateFusion):
    def validation_step(self, batch, batch_idx):
        f = torch.cat([self.net(batch["x"]), batch["sex"][:, None].float()], 1)
        return F.cross_entropy(self.head(f), batch["y"])


@case(way="step", scores=None)
class ZeroShot(Plain):
    def __init__(self):
        super().__init__(out=0)
        self.text, self.scale = nn.Parameter(torch.randn(4, 8)), nn.Parameter(torch.tensor(1.0))

    def validation_step(self, batch, batch_idx):
        f = F.normalize(self(batch[0]))
        return F.cross_entropy(self.scale.exp() * f @ F.normalize(self.text).T, batch[1])


@case(network="one", way="step", scores=None,
      says=("your step validates one and two on the same labels",), others=[("network", "two")])  # fmt: skip
class Ensemble(Plain):
    def __init__(self):
        super().__init__()
        self.one, self.two = Net(), Net()

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy((self.one(batch[0]) + self.two(batch[0])) / 2, batch[1])


# --- no loss of torch's: the first meeting


@case(loss=None)
class ByGather(Plain):
    def validation_step(self, batch, batch_idx):
        return -self(batch[0]).log_softmax(1).gather(1, batch[1][:, None]).mean()


@case(loss=None)
class ByIndexing(Plain):
    def validation_step(self, batch, batch_idx):
        return -self(batch[0]).log_softmax(1)[range(N), batch[1]].mean()


@case(loss=None)
class ByComparison(Plain):
    def validation_step(self, batch, batch_idx):
        return (self(batch[0]).argmax(1) == batch[1]).float().mean()


@case(loss=None)
class MetricsForward(Plain):
    def __init__(self):
        super().__init__()
        self.accuracy = Accuracy("multiclass", num_classes=4)

    def validation_step(self, batch, batch_idx):
        return self.accuracy(self(batch[0]), batch[1])


@case(loss=None)
class MetricCollectionsUpdate(Plain):
    def __init__(self):
        super().__init__()
        self.metrics = MetricCollection([MulticlassAccuracy(4), MulticlassF1Score(4)])

    def validation_step(self, batch, batch_idx):
        self.metrics.update(self(batch[0]).softmax(1), batch[1])


@case(loss=None, task="multilabel")
class DiceByHand(Plain):
    @staticmethod
    def batch():
        return images(), torch.randint(0, 2, (N, 4)).float()

    def validation_step(self, batch, batch_idx):
        p = self(batch[0]).sigmoid()
        return 1 - 2 * (p * batch[1]).sum() / (p.sum() + batch[1].sum())


@case(loss=None, task="regression")
class SquaresByHand(Plain):
    @staticmethod
    def batch():
        return images(), torch.randn(N, 4)

    def validation_step(self, batch, batch_idx):
        return (self(batch[0]) - batch[1]).square().mean()


@case(loss=None, label=None, task="none", says=("no label was seen",))
class ComparedByNumpy(Plain):
    def validation_step(self, batch, batch_idx):
        p = self(batch[0]).detach().numpy().argmax(1)
        return float(np.mean(p == batch[1].numpy()))


@case(loss=None, label=None, task="none", says=("no label was seen",))
class OnlyReturns(Plain):
    def validation_step(self, batch, batch_idx):
        return self(batch[0])


@case(loss=None, label=None, task="none", scores=(0,), classes=None,
      says=("several outputs may be class scores, and nothing tells which", "no label was seen"), others=[("scores", 1)])  # fmt: skip
class OnlyReturnsTwo(Plain):
    def forward(self, x):
        f = self.net.embed(x)
        return f, self.net.fc(f)

    def validation_step(self, batch, batch_idx):
        return self(batch[0])


@case(loss=None, label=None, task="none", scores=(1,), classes=4, says=("no label was seen",))
class OnlyReturnsTwoWithNames(OnlyReturnsTwo):
    pass
