"""Kinds 11 to 18: several outputs, or outputs that are no class scores."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_cam import Inputs
from support.read_case import Setup, case, plain, variant
from support.read_data import (
    NAMES,
    Items,
    from_items,
    loader,
    training,
    validation,
    with_names,
)
from support.read_modules import WIDTH, Own, SmallNet, User, classified, learnt, trained_net


def with_class_names(module: User) -> Setup:
    held = validation()
    return plain(module, val=from_items(with_names(held.images, held.labels, NAMES[:4])))


class FeaturesFirst(User):
    def forward(self, images):
        features = self.net.embed(images)
        return features, self.net.head(features)

    def step(self, batch):
        images, labels = batch
        _, scores = self(images)
        return classified(scores, labels)


@case(11)
def features_and_logits() -> Setup:
    return with_class_names(FeaturesFirst(trained_net()))


@case(11)
def features_and_logits_without_class_names() -> Setup:
    return plain(FeaturesFirst(trained_net()))


class HeadInTheStep(User):
    def __init__(self) -> None:
        super().__init__(SmallNet(out=0))
        self.classifier = nn.Linear(WIDTH, 4)

    def forward(self, images):
        return F.normalize(self.net.embed(images))

    def step(self, batch):
        images, labels = batch
        return classified(10 * self.classifier(self(images)), labels)


def learnt_on_plain_batches(make: type[User]) -> User:
    known = training()
    return learnt(make, loader(known.images, known.labels, shuffle=True), epochs=8)


@case(12)
def embedding_and_a_head_in_the_step() -> Setup:
    return with_class_names(learnt_on_plain_batches(HeadInTheStep))


# --- a backbone that returns an object


@dataclass
class BackboneOutput:
    last_hidden_state: Tensor
    pooler_output: Tensor


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = SmallNet(out=0).features

    def forward(self, pixel_values: Tensor) -> BackboneOutput:
        maps = self.features(pixel_values)
        return BackboneOutput(maps.flatten(2).transpose(1, 2), maps.amax(dim=(2, 3)))


class HeadOnABackbone(User):
    def __init__(self, net: nn.Module | None = None, width: int = WIDTH) -> None:
        super().__init__(Backbone() if net is None else net)
        self.classifier = nn.Linear(width, 4)

    def step(self, batch):
        images, labels = batch
        return classified(self.classifier(self(images).pooler_output), labels)


@case(13)
def backbone_with_a_pooled_output() -> Setup:
    return plain(learnt_on_plain_batches(HeadOnABackbone))


@case(13, needs=("transformers",), share=None, own=0.0)
def backbone_of_transformers() -> Setup:
    from transformers import Dinov2Config, Dinov2Model

    shape = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3}
    return plain(HeadOnABackbone(Dinov2Model(Dinov2Config(image_size=32, patch_size=4, **shape)), width=48))


# --- outputs that are compared with no label


class Autoencoder(User):
    """A variational one, whose validation takes the mean."""

    def __init__(self) -> None:
        super().__init__(SmallNet(out=0))
        self.mean, self.log_variance = nn.Linear(WIDTH, 6), nn.Linear(WIDTH, 6)
        self.decoder = nn.Sequential(
            nn.Linear(6, 8 * 8 * 8), nn.Unflatten(1, (8, 8, 8)), nn.ConvTranspose2d(8, 3, 4, stride=4)
        )

    def forward(self, images):
        features = self.net.embed(images)
        mean, log_variance = self.mean(features), self.log_variance(features)
        noise = (log_variance / 2).exp() * torch.randn_like(mean)
        return self.decoder(mean + noise if self.training else mean), mean, log_variance

    def step(self, batch):
        images, _ = batch
        copies, mean, log_variance = self(images)
        prior = (mean**2 + log_variance.exp() - log_variance).mean()
        return Own(F.mse_loss(copies, images) + 1e-3 * prior, answer=mean.argmax(dim=1))


NO_LABEL = r"compares with no label"


@case(14, task="none", label=None, share=None, says=(NO_LABEL, r"scores="),
      remedy=lambda told: {"target": "predicted", "inputs": Inputs(scores=1)})  # fmt: skip
def autoencoder() -> Setup:
    return plain(learnt_on_plain_batches(Autoencoder), labels=None)


class TwoViews(User):
    """Each view must find its other half among those of the batch."""

    def __init__(self) -> None:
        super().__init__(SmallNet(out=12))

    def step(self, batch):
        (one, other), _ = batch
        projection = self(one)
        near = F.normalize(projection) @ F.normalize(self(other)).T
        return Own(F.cross_entropy(near / 0.1, torch.arange(len(one))), answer=projection.argmax(dim=1))


class TwoFlatViews(TwoViews):
    def step(self, batch):
        return super().step((batch, None))


def views(images: Tensor, labels: Tensor) -> Items:
    return Items(len(images), lambda i: ((images[i], images[i].flip(-1)), int(labels[i])))


@case(15, task="none", label=None, share=None, says=(NO_LABEL, r"target=.predicted."),
      remedy=lambda told: {"target": "predicted"})  # fmt: skip
def two_views_and_a_label() -> Setup:
    known, held = training(), validation()
    train = from_items(views(known.images, known.labels), shuffle=True)
    val = from_items(views(held.images, held.labels))
    return plain(learnt(TwoViews, train, epochs=2), train=train, val=val, labels=None)


variant(16, "two_views_told_the_first", two_views_and_a_label, task="none", label=None, share=None, says=(NO_LABEL,),
        arguments={"inputs": Inputs(images=lambda batch: batch[0][0])},
        remedy=lambda told: {"target": "predicted", "inputs": Inputs(images=lambda batch: batch[0][0])})  # fmt: skip


@case(16, task="none", label=None, share=None, says=(NO_LABEL,), remedy=lambda told: {"target": "predicted"})
def two_flat_views() -> Setup:
    known, held = training(), validation()
    train = loader(known.images, known.images.flip(-1), shuffle=True)
    val = loader(held.images, held.images.flip(-1))
    return plain(learnt(TwoFlatViews, train, epochs=2), train=train, val=val, labels=None)


# --- two heads


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(context, values):
        return values.view_as(values)

    @staticmethod
    def backward(context, gradient):
        return -gradient


class DomainFirst(User):
    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.domain = nn.Linear(WIDTH, 2)

    def forward(self, images):
        features = self.net.embed(images)
        return self.domain(Reversed.apply(features)), self.net.head(features)

    def step(self, batch):
        images, labels = batch
        _, scores = self(images)
        return classified(scores, labels)


@case(17)
def domain_before_class() -> Setup:
    return plain(DomainFirst(trained_net()))


class Exits(User):
    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Linear(16, 4)

    def forward(self, images):
        maps = self.net.features[:4](images)
        last = self.net.features[4:](maps)
        return [self.early(maps.amax(dim=(2, 3))), self.net.head(last.amax(dim=(2, 3)))]

    def step(self, batch):
        images, labels = batch
        scores = self(images)
        loss = sum(F.cross_entropy(one, labels) for one in scores)
        return Own(loss, right=(scores[-1].argmax(dim=1) == labels).float())


@case(18, says=(r"losses take output 1 and output 0; output 1 is explained",))
def several_exits() -> Setup:
    return plain(learnt_on_plain_batches(Exits))


variant(18, "several_exits_told_the_last", several_exits, arguments={"inputs": Inputs(scores=-1)})  # fmt: skip
