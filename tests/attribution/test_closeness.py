"""Whether a layer carries the score: the formula, what is said, and whether following it leads to a right picture."""

import ast
import re
from functools import cache

import pytest
import torch
from reference.reading import closeness_and_share
from support.bypasses import (
    Attention,
    Exits,
    Plain,
    Skip,
    Teacher,
    TwoBranches,
    UNet,
    figures,
    read,
    share_inside,
    trained,
)
from support.captured import Tokens
from support.networks import Net, net, pictures
from support.traces import assert_same, state, variant_untidy
from torch import Tensor, nn

from lightning_cam import explain
from lightning_cam.attribution.capture import find_layer
from lightning_cam.attribution.closeness import closeness, closeness_note, spread, way
from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.target_layer import TargetLayer, named_layer

PLAIN = ModelConfig()
READ = ModelConfig(scores=read)
INSIDE = 0.5  # of the map, at least, in a right picture; the figures' boxes are 0.17 of the image


@cache
def ready(kind: type[nn.Module]) -> nn.Module:
    return trained(kind)


def layers(model: nn.Module, *names: str) -> list[TargetLayer]:
    return [named_layer(model, name) for name in names]


def note(model: nn.Module, *names: str, config: ModelConfig = READ) -> str:
    return closeness_note(model, figures(16, seed=1)[0], layers(model, *names), config).sentence


def remedy(message: str) -> str | list[str]:
    """What the message says to name."""
    return ast.literal_eval(re.search(r"target_layer=('[^']+'|\[[^]]+\])", message)[1])


# --- the formula


def test_the_formula_is_that_of_the_plain_loops() -> None:
    replaced, own, other = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)).unbind()
    found = way(replaced, own, other)
    assert found == pytest.approx(closeness_and_share(*(each.numpy() for each in (replaced, own, other))))
    assert way(other, own, other) == pytest.approx((1, 1))
    assert way(own, own, other) == pytest.approx((0, 0))


@pytest.mark.parametrize("spread_of_scores", [0.0, 0.9e-4, 1.1e-4])
def test_scores_that_hardly_differ_tell_nothing(spread_of_scores: float) -> None:
    other = torch.ones(2, 3)
    found = way(other, other - spread_of_scores, other)
    assert (found is None) == (spread_of_scores < 1e-4)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_scores_that_are_not_finite_tell_nothing(value: float) -> None:
    scores, broken = torch.randn(2, 3), torch.full((2, 3), value)
    assert way(broken, scores, scores + 1) is None
    assert way(scores, broken, scores + 1) is None
    assert way(scores, scores + 1, broken) is None


class Past(Net):
    """What comes before the layer reaches the scores past it."""

    def __init__(self) -> None:
        super().__init__()
        self.past = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        early = self.stem(images)
        return self.tail(self.body(early)) + self.past(early.mean(dim=(2, 3)))


@pytest.mark.parametrize("max_batch", [None, 1, 3])
def test_of_a_network_as_split_by_hand(max_batch: int | None) -> None:
    torch.manual_seed(0)
    model, images = Past().eval(), pictures(6)
    with torch.no_grad():
        seconds = images.roll(-1, 0)
        replaced = model.tail(model.trunk(images)) + model.past(model.stem(seconds).mean(dim=(2, 3)))
        value, share = closeness_and_share(replaced.numpy(), model(seconds).numpy(), model(images).numpy())
    found = closeness(model, images, layers(model, "body"), ModelConfig(max_batch=max_batch))
    assert (found.value, found.share) == pytest.approx((value, share), abs=1e-5)
    assert value < 0.9
    assert closeness(model, images, layers(model, "stem"), PLAIN).value == pytest.approx(1, abs=1e-5)
    assert closeness(model, images, layers(model, "stem", "body"), PLAIN).value == pytest.approx(1, abs=1e-5)


def test_eight_images_evenly_spread() -> None:
    sizes = []

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        sizes.append(len(images))
        return model(images)

    model = net()
    closeness(model, pictures(40), layers(model, "body"), ModelConfig(network=forward))
    assert sizes == [8, 8]
    assert spread(40, 8).tolist() == [0, 6, 11, 17, 22, 28, 33, 39]
    assert spread(3, 8).tolist() == [0, 1, 2]


def test_one_image_tells_nothing() -> None:
    model = net()
    assert closeness(model, pictures(1), layers(model, "body"), PLAIN) is None
    assert closeness_note(model, pictures(1), layers(model, "body"), PLAIN).sentence == ""


def test_each_image_keeps_its_index() -> None:
    seen = []

    def forward(model: nn.Module, images: Tensor, index: Tensor) -> Tensor:
        seen.append((images, index))
        return model(images)

    model, images = net(), pictures(12)
    closeness(model, images, layers(model, "body"), ModelConfig(network=forward))
    for rows, index in seen:
        torch.testing.assert_close(rows, images[index])


@pytest.mark.usefixtures("unchecked")  # the checks draw a random item of each list
@pytest.mark.parametrize("fails", [False, True])
def test_no_trace(fails: bool) -> None:
    model = variant_untidy().train()
    before = state(model)
    model.fails = fails
    if fails:
        with pytest.raises(RuntimeError, match="half-way"):
            closeness_note(model, pictures(), layers(model, "body"), PLAIN)
    else:
        closeness_note(model, pictures(), layers(model, "body"), PLAIN)
    assert_same(before, state(model))


def test_a_layer_that_is_never_reached() -> None:
    model = net()
    model.unused = nn.Conv2d(3, 3, 1)
    with pytest.raises(ValueError, match="target_layer: the forward never reaches 'unused'"):
        closeness(model, pictures(), layers(model, "unused"), PLAIN)


# --- what is said, of networks that were trained


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Plain, ["features"]),
        (Attention, ["features"]),
        (UNet, ["features"]),
        (Exits, ["features"]),
        (TwoBranches, ["rgb", "depth"]),
        (Skip, ["early"]),
    ],
)
def test_layers_that_carry_the_score_are_silent(kind: type[nn.Module], names: list[str]) -> None:
    model = ready(kind)
    found = closeness(model, figures(16, seed=1)[0], layers(model, *names), READ)
    assert (found.value, found.share) == pytest.approx((1, 1), abs=5e-4)
    assert note(model, *names) == ""


def test_two_branches() -> None:
    model = ready(TwoBranches)
    assert find_layer(model, figures(1)[0]).name == "depth"
    shares = [
        closeness(model, figures(16, seed=1)[0], layers(model, name), READ).share for name in ("rgb", "depth")
    ]
    assert sum(shares) == pytest.approx(1, abs=1e-4), "the head sums them"
    said = note(model, "depth")
    assert said == (
        f"target_layer: of what tells two images apart, {100 * shares[1]:.0f} % passes through 'depth'; "
        "target_layer=['depth', 'rgb'] shows all of it"
    )
    assert note(model, *remedy(said)) == ""
    assert share_inside(model, remedy(said)) > INSIDE


@pytest.mark.parametrize(
    ("kind", "layer", "better"), [(Attention, "att", "features"), (Skip, "late.0", "early")]
)
def test_what_passes_by_is_said_with_a_layer_that_carries_all(
    kind: type[nn.Module], layer: str, better: str
) -> None:
    model = ready(kind)
    said = note(model, layer)
    assert re.fullmatch(
        rf"target_layer: .* \d+ % passes through '{layer}'; target_layer='{better}' shows all of it", said
    )
    assert note(model, remedy(said)) == ""
    assert share_inside(model, remedy(said)) > INSIDE


def test_attention_pooling_is_explained_at_the_features_it_weighs() -> None:
    model = ready(Attention)
    assert find_layer(model, figures(1)[0]).name == "features"
    assert share_inside(model) > INSIDE


def test_where_no_layer_carries_the_rest() -> None:
    class Colours(Net):
        def __init__(self) -> None:
            super().__init__()
            self.colours = nn.Linear(3, 5)

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) + 20 * self.colours(images.mean(dim=(2, 3)))

    torch.manual_seed(0)
    model = Colours().eval()
    said = closeness_note(model, pictures(8), layers(model, "body"), PLAIN).sentence
    assert said.endswith(" % passes through 'body'; where the rest passes was not found")


def test_a_class_token_is_told_as_a_fact() -> None:
    torch.manual_seed(0)
    model = Tokens().eval()
    images = pictures(8)
    found = closeness(model, images, layers(model, "norm1"), PLAIN)
    assert found.beside_tokens
    with torch.no_grad():
        firsts, seconds = model.embed(images), model.embed(images.roll(-1, 0))
        normed = torch.cat([model.norm1(seconds)[:, :3], model.norm1(firsts)[:, 3:]], dim=1)
        replaced, own = model.rest(seconds, normed), model(images)
    expected = closeness_and_share(replaced.numpy(), own.roll(-1, 0).numpy(), own.numpy())
    assert (found.value, found.share) == pytest.approx(expected, abs=1e-5)


class ClassToken(Tokens):
    """Whose first token has collected what it answers before the last attention."""

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images)
        tokens = tokens + torch.nn.functional.pad(tokens[:, 3:].mean(dim=1, keepdim=True), (0, 0, 0, 18))
        return self.rest(tokens, self.norm1(tokens))


def test_what_a_class_token_has_collected_before_is_told_without_a_remedy() -> None:
    torch.manual_seed(0)
    model = ClassToken().eval()
    said = closeness_note(model, pictures(8), layers(model, "norm1"), PLAIN).sentence
    assert re.fullmatch(
        r"target_layer: 'norm1' is before the last attention of a class token, which has collected the rest before: of "
        r"what tells two images apart, \d+ % passes through the patches there\. .*",
        said,
    )
    assert "target_layer=" not in said


# --- the remedy where there is no gradient


@pytest.mark.parametrize(
    ("kind", "layer", "better"),
    [
        (UNet, None, "features"),
        (UNet, "up", "features"),
        (Exits, None, "features"),
        (Teacher, None, "student.features"),
    ],
)
def test_no_gradient_names_the_last_layer_that_carries_the_score(
    kind: type[nn.Module], layer: str | None, better: str
) -> None:
    model = ready(kind)
    images, labels, _ = figures(16, seed=1)
    with pytest.raises(
        ValueError, match=r"target_layer: no gradient at .* the scores pass through"
    ) as refusal:
        explain(model, images, target="label", labels=labels, target_layer=layer, scores=read)
    assert remedy(str(refusal.value)) == better
    assert share_inside(model, better) > INSIDE
    assert note(model, better) == ""


def test_no_gradient_where_no_layer_carries_the_score() -> None:
    class Colours(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(3, 5)

        def forward(self, images: Tensor) -> Tensor:
            self.conv(images)
            return self.fc(images.mean(dim=(2, 3)))

    with pytest.raises(ValueError, match=r"no gradient at 'conv': .* name one that it passes through"):
        explain(Colours(), pictures())


def test_no_gradient_behind_a_layer_that_carries_the_score() -> None:
    class Cut(Net):
        def tail(self, activations: Tensor) -> Tensor:
            return super().tail(activations.detach())

    model = Cut()
    with pytest.raises(ValueError, match=r"no gradient at 'body': .* cuts .* use method='ablationcam'"):
        explain(model, pictures())
    uncut = net()
    model.load_state_dict(uncut.state_dict())
    found = [explain(each, pictures(), method="ablationcam").cams for each in (model, uncut)]
    torch.testing.assert_close(*found)
