"""Rarer validation steps, most of them written after the rule was fixed, and networks of other libraries."""

import timm
import timm.loss
import torch
import torch.nn.functional as F
import torchvision
import transformers
from torch import nn

from support.observed_steps import Net, Plain, Task, case, images, labels
from support.observed_steps_more import CASES  # all of them

N = 8

__all__ = ["CASES"]


@case(label=("bag_label",), image=("bag",), loss="binary_cross_entropy_with_logits", task="binary")
class BagWithAttention(Task):
    """One bag of images a batch, one label a bag: a score is not an image's."""

    def __init__(self):
        super().__init__(out=0)
        self.attention, self.head = nn.Linear(8, 1), nn.Linear(8, 1)

    @staticmethod
    def batch():
        return {"bag": torch.rand(1, 5, 3, 16, 16), "bag_label": torch.ones(1)}

    def forward(self, bag):
        f = self.net(bag.flatten(0, 1))
        return self.head((self.attention(f).softmax(0) * f).sum(0, keepdim=True))

    def validation_step(self, batch, batch_idx):
        return F.binary_cross_entropy_with_logits(self(batch["bag"])[:, 0], batch["bag_label"])


@case(label=(2,))
class ValidityMask(Task):
    @staticmethod
    def batch():
        return images(), torch.arange(N) < 5, labels()

    def validation_step(self, batch, batch_idx):
        x, valid, y = batch
        return (F.cross_entropy(self(x), y, reduction="none") * valid).sum() / valid.sum()


@case(label=(2,), says=("self takes 2 images",), others=[("images", 1)])
class DepthAndPicture(Task):
    def __init__(self):
        super().__init__(out=0)
        self.depth, self.fc = Net(0, channels=1), nn.Linear(16, 4)

    @staticmethod
    def batch():
        return images(), images(channels=1), labels()

    def forward(self, x, z):
        return self.fc(torch.cat([self.net(x), self.depth(z)], 1))

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0], batch[1]), batch[2])


@case(way="step", scores=None, image_is_plain=False)
class SlidingWindows(Plain):
    def validation_step(self, batch, batch_idx):
        windows = [self(batch[0][:, :, :, i : i + 8]) for i in (0, 4, 8)]
        return F.cross_entropy(torch.stack(windows).mean(0), batch[1])


@case(
    loss=None,
    label=None,
    task="none",
    says=("compares batch[1] with what it computes from the output (8 x 8)",),
)
class SupervisedContrast(Plain):
    """An embedding alone, compared by hand: no class scores."""

    def __init__(self):
        super().__init__(out=16)

    def validation_step(self, batch, batch_idx):
        z = F.normalize(self(batch[0]))
        same = (batch[1][:, None] == batch[1][None]).float()
        return -(same * (z @ z.T).log_softmax(1)).mean()


@case(label=(1,), loss=None, scores=("coarse",))
class TwoAccuraciesNoLoss(Task):
    """Consistent, and said to be assumed; the other is an alternative only where a loss was seen."""

    def __init__(self):
        super().__init__(out=0)
        self.coarse, self.fine = nn.Linear(8, 2), nn.Linear(8, 4)

    @staticmethod
    def batch():
        return images(), labels() // 2, labels()

    def forward(self, x):
        f = self.net(x)
        return {"coarse": self.coarse(f), "fine": self.fine(f)}

    def validation_step(self, batch, batch_idx):
        o = self(batch[0])
        return (o["coarse"].argmax(1) == batch[1]).float().mean(), (
            o["fine"].argmax(1) == batch[2]
        ).float().mean()


class WithLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x, y):
        return F.cross_entropy(self.net(x), y)


@case(network="net.net")
class OnlyTheLossComesOut(Plain):
    def __init__(self):
        super().__init__(WithLoss())

    def validation_step(self, batch, batch_idx):
        return self.net(*batch)


@case(network="net", loss=None, label=(1,))
class DistributionComesOut(Plain):
    def forward(self, x):
        return torch.distributions.Categorical(logits=self.net(x), validate_args=False)

    def validation_step(self, batch, batch_idx):
        return -self(batch[0]).log_prob(batch[1]).mean()


@case(loss="binary_cross_entropy_with_logits", task="multilabel")
class TorchvisionsFocalLoss(Plain):
    @staticmethod
    def batch():
        return images(), torch.randint(0, 2, (N, 4)).float()

    def validation_step(self, batch, batch_idx):
        return torchvision.ops.sigmoid_focal_loss(self(batch[0]), batch[1], reduction="mean")


@case(loss=None)
class TimmsLabelSmoothing(Plain):
    def __init__(self):
        super().__init__()
        self.criterion = timm.loss.LabelSmoothingCrossEntropy()

    def validation_step(self, batch, batch_idx):
        return self.criterion(self(batch[0]), batch[1])


@case(loss=None, task="multilabel")
class TimmsAsymmetricLoss(TimmsLabelSmoothing):
    def __init__(self):
        super().__init__()
        self.criterion = timm.loss.AsymmetricLossMultiLabel()

    @staticmethod
    def batch():
        return images(), torch.randint(0, 2, (N, 4)).float()


@case(network="encoder", way="step", scores=None)
class EncoderAndHeadOfTheStep(Plain):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = Net(0), nn.Linear(8, 4)

    def validation_step(self, batch, batch_idx):
        logits = self.head(F.relu(self.encoder(batch[0])))
        return F.cross_entropy(logits, batch[1]), (logits.argmax(1) == batch[1]).float().mean()


@case(way="step", scores=None)
class LogitAdjustment(Plain):
    def __init__(self):
        super().__init__()
        self.register_buffer("prior", torch.rand(4))

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]) + self.prior.log(), batch[1])


@case(way="call")
class LogitAdjustmentAndPlainArgmax(LogitAdjustment):
    def validation_step(self, batch, batch_idx):
        out = self(batch[0])
        return F.cross_entropy(out + self.prior.log(), batch[1]), (out.argmax(1) == batch[1]).float().mean()


@case(image_is_plain=False, network="net", says=("computed from batch[0] (16 x 16 -> 32 x 32)",))
class ResizedByAModule(Plain):
    def __init__(self):
        super().__init__()
        self.resize = nn.Upsample(32)

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(self.resize(batch[0])), batch[1])


@case(loss=None, task="binary")
class ThresholdByHand(Plain):
    def __init__(self):
        super().__init__(out=1)

    @staticmethod
    def batch():
        return images(), labels(2)

    def validation_step(self, batch, batch_idx):
        return ((self(batch[0])[:, 0] > 0).long() == batch[1]).float().mean()


@case(image=(), label=None, loss=None, task="none", says=("no label was seen",))
class ImagesAlone(Plain):
    @staticmethod
    def batch():
        return images()

    def validation_step(self, batch, batch_idx):
        return self(batch).logsumexp(1).mean()


@case(
    loss="mse_loss",
    task="none",
    label=None,
    dense=True,
    says=("compares with no label (mse_loss with batch[0])",),
)
class Autoencoder(Plain):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 3, 3, padding=1))

    def validation_step(self, batch, batch_idx):
        return F.mse_loss(self(batch[0]), batch[0])


CASES["Autoencoder"].loss = None


@case(
    loss="mse_loss",
    task="none",
    label=None,
    dense=True,
    image=(0,),
    says=("compares with no label (mse_loss with batch[1])",),
)
class Denoiser(Autoencoder):
    @staticmethod
    def batch():
        return images(), images()

    def validation_step(self, batch, batch_idx):
        return F.mse_loss(self(batch[0]), batch[1])


CASES["Denoiser"].loss = None


@case(network="net", image=("pixel_values",), label=("labels",), scores=("logits",))
class VitForImageClassification(Task):
    def __init__(self):
        config = transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=16,
            patch_size=4, num_labels=4,
        )  # fmt: skip
        super().__init__(transformers.ViTForImageClassification(config))

    @staticmethod
    def batch():
        return {"pixel_values": images(), "labels": labels()}

    def validation_step(self, batch, batch_idx):
        o = self.net(**batch)
        return o.loss, (o.logits.argmax(1) == batch["labels"]).float().mean()


@case(way="step", scores=None)
class Dinov2Backbone(Plain):
    def __init__(self):
        config = transformers.Dinov2Config(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4
        )
        super().__init__(transformers.Dinov2Model(config))
        self.head = nn.Linear(16, 4)

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.head(self(batch[0]).pooler_output), batch[1])


@case()
class TimmsVit(Plain):
    def __init__(self):
        super().__init__(
            timm.create_model(
                "vit_tiny_patch16_224",
                num_classes=4,
                img_size=16,
                patch_size=4,
                depth=2,
                embed_dim=16,
                num_heads=2,
            )
        )


@case()
class TorchvisionsResNet(Plain):
    def __init__(self):
        super().__init__(torchvision.models.resnet18(num_classes=4))

    @staticmethod
    def batch():
        return images(size=32), labels()
