"""What tells classes apart, where label and prediction differ, how attention moved: numbers, pixels, and the layout as a whole."""

import io
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modules import Classifier, loader, trainer
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_cam import CAMMonitor, Probe
from lightning_cam.attribution.config import ExplainConfig
from lightning_cam.data.history import History, remember
from lightning_cam.explainer import answer, find_layers
from lightning_cam.loggers.files import encode_gif
from lightning_cam.visualization.animation import draw_animation
from lightning_cam.visualization.blend import MOST_OPAQUE, color_table, outlined, overlay_cams, signed_bar
from lightning_cam.visualization.canvas import FRAME, LINE, MARGIN, TOP, WRONG, Key
from lightning_cam.visualization.classes import NARROWEST_TILE, draw_classes
from lightning_cam.visualization.evolution import Row, draw_evolution, evolution_picture
from lightning_cam.visualization.overlay import Caption, draw_overlay
from lightning_cam.visualization.prepared import CONTRAST, FOREGROUND_LINE, MASK_LINE, STRIP_TILES
from lightning_cam.visualization.projection import tile_size
from lightning_cam.visualization.scene import Scene
from lightning_cam.visualization.style import Style

GOLDEN = Path(__file__).parent / "golden"
HEADER = ("epoch 3 · step 40", "gradcam at layer4 (4 x 4) · target: label")


def scene(
    probe: Probe,
    style: Style | None = None,
    history: History | None = None,
    cams: Tensor | None = None,
    scores: Tensor | None = None,
    **others: Any,
) -> Scene:
    """A look at the probe; whatever a picture does not draw from is zero."""
    count = len(probe)
    known = {
        "images": probe.images,
        "cams": torch.zeros(count, 4, 4) if cams is None else cams,
        "scores": torch.zeros(count, 4) if scores is None else scores,
        "reasons": torch.zeros(count, dtype=torch.long),
        "history": history or History(),
        "when": HEADER[0],
        "asked": HEADER[1],
        "style": style or Style(),
    }
    return Scene(probe, **(known | others))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5 * 36, 4),
    )


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam", "gradcam++"])
def test_rivals_are_the_maps_of_two_looks(method: str) -> None:
    model, images, labels = network(), torch.rand(5, 3, 8, 8), torch.tensor([0, 1, 2, 3, 0])
    question = ExplainConfig(method, "label", confusions=3, max_batch=2)
    layers = find_layers(question, model, images)
    (found,) = answer(question, model, images, labels, layers).values()
    predicted = found.scores.argmax(dim=1)
    assert (predicted != labels).any()
    (other,) = answer(ExplainConfig(method, "label", max_batch=2), model, images, predicted, layers).values()
    assert_close(found.confusions.predicted, other.cams[:3], rtol=0, atol=0)
    (alone,) = answer(ExplainConfig(method, "label", max_batch=2), model, images, labels, layers).values()
    assert_close(found.cams, alone.cams, rtol=0, atol=0)
    for i in range(3):
        own, rival = int(labels[i]), int(predicted[i])

        def above(one: int, less: int, i: int = i) -> Tensor:
            target = lambda scores, labels: scores[:, one] - scores[:, less]  # noqa: E731
            (map_,) = answer(ExplainConfig(method, target), model, images[i : i + 1], None, layers).values()
            return map_.cams[0].clamp(min=0)

        assert_close(
            found.confusions.contrast[i], above(own, rival) - above(rival, own), rtol=1e-4, atol=1e-6
        )


def test_rivals_cost_no_forward() -> None:
    model, images, labels = network(), torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    runs = []
    layers = find_layers(ExplainConfig("gradcam", "label"), model, images)
    model[0].register_forward_hook(lambda *_: runs.append(1))
    answer(ExplainConfig("gradcam", "label", confusions=4), model, images, labels, layers)
    assert len(runs) == 1


@pytest.mark.parametrize(
    "question",
    [ExplainConfig("scorecam", "label", confusions=4), ExplainConfig("gradcam", "predicted", confusions=4)],
)
def test_no_rivals_where_they_would_cost_a_look_or_mean_nothing(question: ExplainConfig) -> None:
    model, images = network(), torch.rand(4, 3, 8, 8)
    (found,) = answer(
        question, model, images, torch.tensor([0, 1, 2, 3]), find_layers(question, model, images)
    ).values()
    assert found.confusions is None


def test_an_outline_goes_around_what_is_inside() -> None:
    inside = torch.rand(2, 9, 11, generator=torch.Generator().manual_seed(0)) > 0.6
    images = torch.full((2, 3, 9, 11), 0.8)
    found = outlined(images, inside, (255, 0, 0))
    for n, y, x in itertools.product(range(2), range(9), range(11)):
        around = inside[n, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        line, dark = [1.0, 0.0, 0.0], [0.2] * 3
        expected = [0.8] * 3 if around.all() or not around.any() else line if inside[n, y, x] else dark
        assert_close(found[n, :, y, x], torch.tensor(expected))


def test_a_signed_map_is_transparent_at_zero_and_has_a_colour_for_each_sign() -> None:
    images, cams = (
        torch.full((1, 3, 4, 4), 0.5),
        torch.tensor([[[2.0, 0.0], [0.0, -4.0]]]).repeat_interleave(2, 1).repeat_interleave(2, 2),
    )
    colors = color_table("RdBu_r")
    found = overlay_cams(images, cams, (4, 4), (4, 4), colors, 0.5, signed=True)
    for place, value in (((0, 0), 0.5), ((0, 3), 0.0), ((3, 3), -1.0)):
        share = 2 * MOST_OPAQUE * 0.5 * abs(value)
        color = colors[round(((value + np.sign(value)) / 2 + 1) / 2 * 255)]
        assert_close(found[0, :, *place], (1 - share) * torch.full((3,), 0.5) + share * color)
    bar = signed_bar(colors)
    assert_close(bar[-1], colors[-1])
    assert_close(bar[0], colors[0])
    assert_close(bar[128], torch.full((3,), 0.6), rtol=0, atol=0.01)


def test_a_probability_that_is_not_finite_is_said_so() -> None:
    assert [Caption(False, "a", "b", share).percent for share in (0.126, float("nan"))] == [
        " 13 %",
        " not finite",
    ]


def looks(count: int, images: int, sizes: tuple[float, ...], classes: int = 4) -> tuple[History, Tensor]:
    """Looks whose maps have these maxima, epoch by epoch, and the last maps."""
    history, generator = History(), torch.Generator().manual_seed(0)
    for epoch, size in enumerate(sizes[:count], start=-1):
        cams = torch.rand(images, 4, 4, generator=generator)
        cams = size * cams / cams.amax(dim=(1, 2), keepdim=True)
        drift = torch.linspace(0.1, 0.3, images) if epoch >= 0 else torch.full((images,), torch.nan)
        answers = (torch.arange(images) + (epoch < 1)) % classes
        history = history.added(
            remember(epoch, 10 * epoch + 10, cams, answers, torch.rand(images), {"drift_last": drift})
        )
    return history, cams


def test_the_runs_scale_is_each_images_largest_value() -> None:
    history, cams = looks(3, 2, (1.0, 4.0, 2.0))
    images = torch.zeros(2, 3, 32, 32)
    probe, style = Probe(images, torch.tensor([0, 1])), Style(colormap="gray", opacity=1.0, color_scale="run")
    scores = torch.eye(4)[:2] * 9
    pixels = np.asarray(draw_overlay(scene(probe, style, history, cams, scores))())
    side = tile_size(32, 32, 112, 224)[0]
    tile = pixels[
        TOP + FRAME : TOP + FRAME + side, MARGIN + 2 * FRAME + side : MARGIN + 2 * FRAME + 2 * side, 0
    ]
    expected = 255 * nn.functional.interpolate(cams[None, :1] / 4, (side, side), mode="bilinear")[0, 0]
    assert np.abs(tile - expected.numpy()).max() <= 2
    assert tile.max() < 140, "half of the largest"


def test_the_strip_says_what_changed_and_what_is_wrong_now() -> None:
    images, (history, _) = torch.rand(3, 3, 32, 32), looks(4, 3, (1.0,) * 4)
    drawn = [
        np.asarray(
            draw_evolution(
                scene(Probe(images, labels, None, ("cat", "dog", "cow", "hen")), history=history, in_fit=True)
            )()
        )
        for labels in (torch.tensor([0, 1, 2]), torch.tensor([0, 1, 3]))
    ]
    blue, orange = (
        (pixels == color).all(axis=2) for pixels, color in ((drawn[0], (0, 114, 178)), (drawn[1], WRONG))
    )
    step = tile_size(32, 32, *STRIP_TILES)[0] + 24
    names = slice(MARGIN, MARGIN + 60)
    rows = [slice(TOP + LINE + row * step, TOP + LINE + (row + 1) * step - 4) for row in range(3)]
    assert [bool(blue[row, names].any()) for row in rows] == [False, False, True]  # it changed most
    assert [bool(orange[row, names].any()) for row in rows] == [False, False, True]  # it is taken for a cow
    assert blue[:, -100:].any()  # the chart


def test_a_strip_without_changes_has_no_chart() -> None:
    tiles = torch.zeros(2, 80, 80, 3, dtype=torch.uint8)
    key = Key(color_table("inferno"), "0 … 1")
    without = evolution_picture(tiles, [], [], [Row("a"), Row("b")], HEADER, key)
    flat = evolution_picture(
        tiles, [], [], [Row("a", (), (0.0, 0.0)), Row("b", (), (float("nan"), 0.0))], HEADER, key
    )
    np.testing.assert_array_equal(np.asarray(without), np.asarray(flat))


def test_class_means_and_their_difference() -> None:
    """Two classes that are looked at left and right: by hand, pixel by pixel."""
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    cams = torch.zeros(6, 1, 2)
    cams[labels == 0, 0, 0] = torch.tensor([5.0, 1.0, 3.0])
    cams[labels == 1, 0, 1] = 2.0
    cams[1] = 0  # blank
    found = scene(
        Probe(images, labels, None, ("left", "right")),
        Style(colormap="gray", opacity=1.0),
        cams=cams,
        scores=torch.eye(2)[labels],
    )
    drawn = draw_classes(found)
    assert drawn is not None
    pixels = np.asarray(drawn())
    side = found.strip.size[0]
    step = max(side, NARROWEST_TILE) + 14
    top = TOP + 2 * LINE
    for place, label in enumerate((0, 1)):
        x = MARGIN + place * step
        mean = torch.stack([images[i] for i in range(6) if labels[i] == label]).mean(dim=0)
        shown = nn.functional.interpolate(mean[None], (side, side), mode="nearest")[0].permute(1, 2, 0) * 255
        assert np.abs(pixels[top : top + side, x : x + side] - shown.numpy()).max() <= 1
        share = [[1.0, 0.0], [0.0, 2 / 3]][label]
        over = pixels[top + side + 4 : top + 2 * side + 4, x : x + side, 0]
        assert np.abs(over[:, :10].astype(float) - 255 * share[0]).max() <= 1
        assert np.abs(over[:, -10:].astype(float) - 255 * share[1]).max() <= 1
    below = top + 2 * (side + 4) + 14 + 2 * LINE + 8
    apart = pixels[below : below + side, MARGIN : MARGIN + side].astype(float)
    colors = 255 * CONTRAST.numpy()
    grey = images.reshape(6, 3, -1).mean().item() * 255
    # The first class is at the left end of the scale's reach: seven tenths of its colour.
    assert np.abs(apart[:, :10].mean(axis=(0, 1)) - (0.7 * colors[-1] + 0.3 * grey)).max() < 6
    assert (
        np.abs(apart[:, -10:].mean(axis=(0, 1)) - (0.7 * 2 / 3 * colors[0] + (1 - 0.7 * 2 / 3) * grey)).max()
        < 6
    )


def test_classes_need_two() -> None:
    images, cams = torch.rand(3, 3, 8, 8), torch.rand(3, 2, 2)
    for labels in (None, torch.tensor([1, 1, 1])):
        assert draw_classes(scene(Probe(images, labels), cams=cams)) is None


def test_an_animation_moves_from_the_first_look_to_the_last() -> None:
    images, (history, _) = torch.rand(5, 3, 16, 16), looks(4, 5, (1.0,) * 4)
    probe = Probe(images, torch.arange(5) % 4)
    made = draw_animation(scene(probe, history=history, in_fit=True, is_last=True))()
    assert len(made) == 4
    assert len({frame.size for frame in made}) == 1
    assert all((np.asarray(one) != np.asarray(other)).any() for one, other in itertools.pairwise(made))
    gif = Image.open(io.BytesIO(encode_gif(made)))
    durations = []
    for number in range(gif.n_frames):
        gif.seek(number)
        durations.append(gif.info["duration"])
        off = np.abs(np.asarray(gif.convert("RGB")).astype(int) - np.asarray(made[number]))
        assert off.mean() < 3
    assert durations == [400, 400, 400, 1600]
    assert gif.info["loop"] == 0


def test_lines_of_masks_and_foreground_are_drawn_and_named() -> None:
    images, cams = torch.full((1, 3, 64, 64), 0.5), torch.ones(1, 2, 2)
    cams[0, :, 1] = 0
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[:, 20:40, 20:40] = True

    def lines(masks: Tensor | None, foreground: float | None) -> tuple[bool, bool]:
        probe = Probe(images, torch.tensor([0]), masks)
        style = Style(foreground=foreground)
        draw = draw_overlay(scene(probe, style, cams=cams, scores=torch.tensor([[9.0, 0.0]])))
        pixels = np.asarray(draw())[:, : MARGIN + 2 * 128 + 3 * FRAME]
        body = pixels[TOP + FRAME : TOP + FRAME + 128, MARGIN + FRAME : MARGIN + FRAME + 256]
        return bool((body == MASK_LINE).all(axis=2).any()), bool((body == FOREGROUND_LINE).all(axis=2).any())

    assert lines(None, None) == (False, False)
    assert lines(mask, None) == (True, False)
    assert lines(None, 0.5) == (False, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"color_scale": "epoch"}, "color_scale: got 'epoch'; give 'map' or 'run'"),
        ({"foreground": 0}, r"foreground: got 0; give a share of the map's maximum in \(0, 1\]"),
        ({"foreground": 1.5}, "foreground: got 1.5"),
    ],
)
def test_wrong_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CAMMonitor(**arguments)


def test_every_way_to_draw_in_a_fit(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    monitors = [
        CAMMonitor(probe=6, cues=None, color_scale="run", foreground=0.5),
        CAMMonitor(
            probe=6,
            cues=None,
            color_scale="run",
            colormap="RdBu_r",
            method="hirescam",
            foreground=0.5,
            name="signed",
        ),
    ]
    trainer(tmp_path, callbacks=monitors, logger=logger, max_epochs=9).fit(
        Classifier(), loader(), loader(seed=1)
    )
    found = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    found.Reload()
    for name in ("cam", "signed"):
        # At eight looks, the untrained one among them, and at the end.
        assert len(found.Images(f"{name}/animation")) == 2
        assert len(found.Images(f"{name}/classes")) == 9


def test_an_animation_in_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    trainer(tmp_path, callbacks=[CAMMonitor(probe=6, cues=None)], logger=logger).fit(
        Classifier(), loader(), loader(seed=1)
    )
    logger.experiment.finish()
    (path,) = tmp_path.rglob("*.gif")
    assert Image.open(path).n_frames == 3


# --- the layout as a whole


def small(picture: Image.Image) -> np.ndarray:
    """At a quarter of the size: letters, which differ between versions of the font renderer, become grey."""
    return np.asarray(picture.convert("RGB").reduce(4)).astype(int)


def sheets() -> dict[str, Image.Image]:
    images = torch.linspace(0, 1, 8 * 3 * 32 * 32).reshape(8, 3, 32, 32)
    labels = torch.arange(8) % 4
    masks = torch.zeros(8, 32, 32, dtype=torch.bool)
    masks[:, 8:20, 10:24] = True
    probe = Probe(
        images, labels, masks, ("cat", "dog", "a class with a long name, which goes on and on", "hen")
    )
    history, cams = looks(12, 8, (1.0, 2.0, 3.0, 4.0) * 3)
    scores = 4 * torch.eye(4)[(labels + (torch.arange(8) == 2)) % 4]
    confusions = (cams.flip(1), cams - cams.flip(1))
    drawn = scene(probe, Style(foreground=0.6), history, cams, scores, confusions=confusions, in_fit=True)
    return {
        "overlay": draw_overlay(drawn)(),
        "evolution": draw_evolution(replace(drawn, style=Style(color_scale="run")))(),
        "classes": draw_classes(drawn)(),
        "animation": draw_animation(replace(drawn, style=Style(colormap="RdBu_r"), is_last=True))()[-1],
    }


@pytest.mark.parametrize("name", ["overlay", "evolution", "classes", "animation"])
def test_the_layout_is_that_of_the_golden_picture(name: str) -> None:
    """To make them anew, after looking: ``python tests/test_evolution.py``."""
    found, golden = (
        small(sheets()[name]),
        np.asarray(Image.open(GOLDEN / f"{name}.png").convert("RGB")).astype(int),
    )
    assert found.shape == golden.shape
    off = np.abs(found - golden)
    assert off.mean() < 0.5
    assert off.max() < 60


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, sheet in sheets().items():
        Image.fromarray(small(sheet).astype(np.uint8)).save(GOLDEN / f"{name}.png", optimize=True)
