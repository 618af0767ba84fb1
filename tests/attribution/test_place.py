"""Where a map lies in the image: the equations by plain loops, sound networks silent, displaced ones found."""

import re
from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from reference import reading
from support.bypasses import Plain, figures, trained
from support.networks import net, pictures
from support.traces import assert_same, state, variant_untidy
from torch import Tensor, nn

from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.place import Place, peaks, place, plane, regions
from lightning_cam.attribution.target_layer import named_layer

PLAIN = ModelConfig()


@cache
def ready() -> nn.Module:
    return trained(Plain)


def pairs(side: int = 64, count: int = 4) -> Tensor:
    """Images of noise, coarse and fine."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, side // 4, side // 4, generator=generator)
    return F.interpolate(coarse, size=side) + 0.3 * torch.rand(count, 3, side, side, generator=generator)


class Moved(nn.Module):
    """What the forward does to the images before the network sees them."""

    def __init__(self, move: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.move, self.net = move, ready()

    def forward(self, images: Tensor) -> Tensor:
        return self.net(self.move(images))


def found(move: Callable[[Tensor], Tensor], side: int = 64) -> Place:
    model = Moved(move).eval()
    return place(model, pairs(side), [named_layer(model, "net.features")], PLAIN)


# --- the equations


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (64, 33)], ids=str)
def test_regions(size: tuple[int, int]) -> None:
    masks = regions(size)
    assert masks.shape == (20, *size)
    torch.testing.assert_close(masks.double(), torch.tensor(reading.regions(*size)))
    assert masks[:8].sum(dim=0).eq(1).all(), "each pixel is in one stripe of each direction"
    assert masks[8:16].sum(dim=0).eq(1).all()


@pytest.mark.parametrize("asked", [range(8), [1, 2, 5], [0, 7]], ids=str)
def test_peaks(asked: list[int]) -> None:
    changes = torch.rand(8, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = reading.peaks(changes.numpy(), list(asked))
    torch.testing.assert_close(peaks(changes.float(), list(asked)).double(), torch.tensor(expected))


def test_a_peak_of_one_stripe_is_its_middle_and_of_none_the_middle_of_all() -> None:
    changes = torch.zeros(8, 2, 2)
    changes[3, 0, 0] = changes[5, 0, 1] = 1
    changes[:, 1, 0] = 0
    torch.testing.assert_close(peaks(changes, [3, 5]), torch.tensor([[3.5 / 8, 5.5 / 8], [4.5 / 8, 4.5 / 8]]))


@pytest.mark.parametrize("own_axis", [0, 1])
@pytest.mark.parametrize("kept", [1.0, 0.5, 0.1])
def test_plane(own_axis: int, kept: float) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(4, 5, generator=generator, dtype=torch.float64)
    living = (torch.rand(4, 5, generator=generator) < kept).nonzero()
    expected = reading.plane(values.numpy(), [tuple(cell) for cell in living.tolist()], own_axis)
    assert plane(values, living, own_axis) == pytest.approx(expected)


def test_the_plane_through_a_plane_with_some_cells_astray() -> None:
    rows = (torch.arange(8) + 0.5) / 8
    values = 0.1 + 0.5 * rows[:, None] + 0.2 * rows
    astray = values.clone()
    astray[2, :2] = astray[5, 6:] = 9
    everywhere = torch.ones(8, 8).nonzero()
    assert plane(astray, everywhere, 0) == pytest.approx((0.1, 0.5, 0.2), abs=1e-6)


def test_where_no_two_places_tell_the_slope_is_that_of_a_map_that_lies_right() -> None:
    assert plane(torch.tensor([[0.5]]), torch.tensor([[0, 0]]), 0) == pytest.approx((0, 1, 0))
    assert plane(torch.tensor([[0.5]]), torch.tensor([[0, 0]]), 1) == pytest.approx((0, 0, 1))


# --- sound networks are silent


def test_a_network_that_keeps_the_place() -> None:
    seen = found(lambda images: images)
    assert seen.sentence == ""
    assert seen.is_told
    assert seen.dev < 0.05
    assert seen.fits > 0.9
    assert seen.box == pytest.approx((0, 0, 1, 1), abs=0.05)


@pytest.mark.parametrize(
    "images",
    [
        pairs(16)[:1],
        pairs(16)[:, :, :8],
        pairs(16)[:2].mean(dim=(2, 3), keepdim=True).expand(2, 3, 16, 16)[:1],
    ],
    ids=["one image", "too small", "one plain image"],
)
def test_what_cannot_be_told(images: Tensor) -> None:
    seen = place(ready(), images, [named_layer(ready(), "features")], PLAIN)
    assert not seen.is_told
    assert seen.sentence == ""


def test_equal_images_tell_nothing() -> None:
    seen = place(ready(), pairs()[:1].repeat(3, 1, 1, 1), [named_layer(ready(), "features")], PLAIN)
    assert (seen.is_told, seen.sentence) == (False, "")


def test_black_borders_are_no_edges_that_the_forward_never_sees() -> None:
    images = F.pad(pairs(48), (8, 8, 8, 8))
    seen = place(ready(), images, [named_layer(ready(), "features")], PLAIN)
    assert seen.is_told
    assert seen.sentence == ""


def test_attention_that_has_forgotten_the_place_tells_nothing() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.norm, self.fc = nn.Conv2d(3, 8, 8, stride=8), nn.LayerNorm(8), nn.Linear(8, 4)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.patches(images).flatten(2).mT
            return self.fc(self.norm(tokens.mean(dim=1, keepdim=True).expand_as(tokens) + 0 * tokens).mean(1))

    torch.manual_seed(0)
    model = Forgetful().eval()
    seen = place(model, pairs(), [named_layer(model, "norm")], PLAIN)
    assert seen.stand == pytest.approx(1, abs=1e-3)
    assert (seen.is_told, seen.sentence) == (False, "")


def test_pairs_that_do_not_agree_tell_no_displacement() -> None:
    sure = Place("layer", (7, 7), stand=2, dev=0.5, fits=0.3, agreement=0.65)
    assert "scrambled" in sure.sentence
    assert Place("layer", (7, 7), stand=2, dev=0.5, fits=0.3, agreement=0.64).sentence == ""


@pytest.mark.parametrize(
    ("grid", "limit"), [((16, 20), 0.1), ((15, 15), 0.1), ((7, 9), 1.5 / 7), ((4, 4), 0.375)]
)
def test_strided_networks_may_shift_maps_by_a_cell_and_a_half(grid: tuple[int, int], limit: float) -> None:
    assert Place("layer", grid, stand=2, dev=limit - 1e-3).sentence == ""
    assert Place("layer", grid, stand=2, dev=limit + 1e-3).sentence != ""


# --- displaced ones are found


BOXES = {
    "half crop": (lambda images: images[:, :, :32, :32], ("bottom", "right"), (0, 0, 0.5, 0.5)),
    "centre of a half": (
        lambda images: images[:, :, 16:48, 16:48],
        ("top", "bottom", "left", "right"),
        (0.25, 0.25, 0.75, 0.75),
    ),
    "crop of the left": (lambda images: images[:, :, :, :32], ("right",), (0, 0, 1, 0.5)),
    "zoom": (
        lambda images: F.interpolate(images[:, :, 16:48, 16:48], size=64),
        ("top", "bottom", "left", "right"),
        (0.25, 0.25, 0.75, 0.75),
    ),
    "shift": (lambda images: F.pad(images, (0, 24))[:, :, :, 24:], ("left",), (0, 0.375, 1, 1.375)),
    "padding": (lambda images: F.pad(images, (0, 40, 0, 40)), (), (0, 0, 1.625, 1.625)),
}


@pytest.mark.parametrize(("move", "unseen", "box"), BOXES.values(), ids=BOXES)
def test_crops_shifts_and_padding_with_their_box(
    move: Callable[[Tensor], Tensor], unseen: tuple[str, ...], box: tuple[float, ...]
) -> None:
    seen = found(move)
    assert seen.unseen == unseen
    assert seen.is_displaced
    assert seen.box == pytest.approx(box, abs=0.12)
    top, left, bottom, right = (f"{100 * side:.0f}" for side in seen.box)
    rest = rf"the maps of 'net\.features' cover rows {top} to {bottom} % and columns {left} to {right} % of it\. "
    start = r"place: (the forward never sees the image's [a-z, ]+ edges?, and )?"
    assert re.match(start + rest, seen.sentence)
    assert ("never sees" in seen.sentence) == bool(unseen)


def test_a_narrow_crop_is_found_by_its_edges() -> None:
    seen = found(lambda images: images[:, :, 4:60, 4:60])
    assert seen.sentence.startswith(
        "place: the forward never sees the image's top, bottom, left and right edges. "
    )


TURNED = {
    "flip": lambda images: images.flip(3),
    "transpose": lambda images: images.mT,
    "rotation": lambda images: images.rot90(1, (2, 3)),
}


@pytest.mark.parametrize("move", TURNED.values(), ids=TURNED)
def test_mirrored_and_turned_images(move: Callable[[Tensor], Tensor]) -> None:
    seen = found(move)
    assert seen.dev == pytest.approx(1, abs=0.1)
    assert seen.sentence.startswith("place: the maps of 'net.features' lie mirrored or turned on the image. ")


def scrambled(images: Tensor) -> Tensor:
    """Tiles of an eighth, in another order."""
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    tiles = images.unflatten(3, (8, -1)).unflatten(2, (8, -1)).transpose(3, 4).flatten(2, 3)
    return tiles[:, :, order].unflatten(2, (8, 8)).transpose(3, 4).flatten(4, 5).flatten(2, 3)


def test_scrambled_positions() -> None:
    torch.testing.assert_close(scrambled(pairs()).sort(dim=2)[0].sum(), pairs().sum())
    seen = found(scrambled, 128)
    assert seen.fits < 0.45
    assert seen.sentence.startswith("place: positions of the maps of 'net.features' are scrambled: ")


def by_brightness(images: Tensor) -> Tensor:
    """A spatial transformer: where it looks depends on the image."""
    shift = 0.4 + 2 * (images.mean(dim=(1, 2, 3)) - 0.65)
    theta = torch.tensor([[0.6, 0, 0], [0, 0.6, 0]]) + shift[:, None, None] * torch.tensor([[0, 0, 1.0]] * 2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def test_a_spatial_transformer() -> None:
    seen = found(by_brightness)
    assert seen.is_displaced
    assert seen.box[0] > 0.2, "it looks at the lower right"
    assert seen.box[1] > 0.2


def test_the_remedy_followed() -> None:
    """The crop before the forward: the same network on images as it uses them."""
    crop = BOXES["half crop"][0]
    assert "with crops and warps before the forward" in found(crop).sentence
    seen = place(ready(), crop(pairs()), [named_layer(ready(), "features")], PLAIN)
    assert (seen.is_told, seen.sentence) == (True, "")


# --- how it asks


def test_of_several_layers_the_first_with_something_to_say() -> None:
    model = Moved(lambda images: images.flip(3))
    layers = [named_layer(model, name) for name in ("net.features.2", "net.features")]
    assert place(model, pairs(), layers, PLAIN).layer == "net.features.2"


@pytest.mark.parametrize("max_batch", [5, None])
def test_63_images_go_through_the_model(max_batch: int | None) -> None:
    rows = []

    def forward(model: nn.Module, images: Tensor, index: Tensor) -> Tensor:
        rows.append((images, index))
        return model(images)

    config, images = ModelConfig(network=forward, max_batch=max_batch), pairs()
    place(ready(), images, [named_layer(ready(), "features")], config)
    assert sum(len(some) for some, _ in rows) == 63
    assert max(len(some) for some, _ in rows) == (max_batch or 16)
    every, index = (torch.cat(parts) for parts in zip(*rows, strict=True))
    differs = (every != images[index]).flatten(1).float().mean(dim=1)
    assert differs[:3].eq(0).all()
    assert differs[3:].gt(0).all(), "each copy is told as the image that most of it is"
    assert differs.amax() < 0.2


def test_the_answer_does_not_depend_on_the_batch() -> None:
    layers = [named_layer(ready(), "features")]
    first, second = (place(ready(), pairs(), layers, ModelConfig(max_batch=most)) for most in (5, 64))
    assert first.dev == pytest.approx(second.dev, abs=1e-4)


@pytest.mark.usefixtures("unchecked")  # the checks draw a random item of each list
@pytest.mark.parametrize("fails", [False, True])
def test_no_trace(fails: bool) -> None:
    model = variant_untidy().train()
    before = state(model)
    model.fails = fails
    if fails:
        with pytest.raises(RuntimeError, match="half-way"):
            place(model, pictures(), [named_layer(model, "body")], PLAIN)
    else:
        assert place(model, pictures(), [named_layer(model, "body")], PLAIN).is_told
    assert_same(before, state(model))


def test_a_small_network_of_random_weights() -> None:
    assert place(net(), pictures(4, (32, 48)), [named_layer(net(), "body")], PLAIN).sentence == ""


def test_signals_and_volumes_tell_nothing() -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3))
    assert not place(model, torch.rand(3, 3, 64), [named_layer(model, "0")], PLAIN).is_told


def test_figures_of_the_training_tell_the_same() -> None:
    assert place(ready(), figures(8, seed=1)[0], [named_layer(ready(), "features")], PLAIN).sentence == ""
