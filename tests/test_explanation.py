"""What an explanation shows: overlays, foregrounds, boxes."""

from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from support.networks import net
from support.photographs import gray_net, photographs
from torch import nn

from lightning_cam import Explanation, explain


@pytest.mark.parametrize("opacity", [0, 0.3, 1])
def test_overlay_blends_each_pixel_with_its_color(opacity: float) -> None:
    images = photographs(2)
    found = explain(net(), images, method="layercam")
    overlay = found.overlay(opacity, "viridis")
    assert overlay.shape == (2, 24, 32, 3)
    assert overlay.dtype == torch.uint8
    table = matplotlib.colormaps["viridis"]
    for image in range(2):
        for y in range(24):
            for x in range(32):
                color = np.array(table(round(255 * found.saliency[image, y, x].item()))[:3])
                expected = 255 * ((1 - opacity) * images[image, :, y, x].double().numpy() + opacity * color)
                assert np.abs(overlay[image, y, x].numpy() - expected).max() < 0.51 + 1e-3
    Image.fromarray(overlay[0].numpy())


def test_overlay_undoes_the_normalization_and_shows_one_channel_in_gray() -> None:
    images = photographs(2)
    mean, std = (0.2, 0.5, 0.4), (0.3, 0.1, 0.2)
    normalized = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    plain = explain(net(), normalized, normalization=(mean, std)).overlay(opacity=0)
    torch.testing.assert_close(
        plain, (255 * images).round().to(torch.uint8).permute(0, 2, 3, 1), atol=1, rtol=0
    )
    gray = explain(gray_net(), photographs(2, channels=1)).overlay(opacity=0)
    assert torch.equal(gray, gray[..., :1].expand(-1, -1, -1, 3))


def test_overlay_of_volumes_and_signals_is_that_of_the_figure() -> None:
    for size, layer in (((6, 10, 8), nn.Conv3d), ((40,), nn.Conv1d)):
        pool = {1: nn.AdaptiveAvgPool1d, 3: nn.AdaptiveAvgPool3d}[len(size)](1)
        model = nn.Sequential(layer(1, 4, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, 3))
        found = explain(model, torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0)))
        shown = [np.asarray(image.get_array()) for axis in found.figure().axes for image in axis.images]
        np.testing.assert_array_equal(found.overlay().numpy(), np.stack(shown[1:4:2]))
        assert found.boxes()[0].shape[1] == 2 * len(size)
        assert found.foreground().shape == (2, *size)


@pytest.mark.parametrize("opacity", [-0.1, 1.5, True, float("nan")])
def test_opacity_out_of_range(opacity: float, unchecked: None) -> None:
    found = explain(net(), photographs(1))
    for draw in (found.overlay, lambda opacity: found.figure(opacity=opacity)):
        with pytest.raises(
            ValueError, match=r"opacity: got .*; give 'evidence', 'constant' or a value in \[0, 1\]"
        ):
            draw(opacity)
    with pytest.raises(ValueError, match=r"colormap: no colormap 'viridos'; did you mean 'viridis'\?"):
        found.overlay(colormap="viridos")


# --- foreground and boxes


def test_foreground_and_boxes_are_those_of_the_saliency() -> None:
    found = explain(net(), photographs(3), method="layercam")
    inside = found.foreground(0.4)
    assert torch.equal(inside, found.saliency >= 0.4)
    for mask, boxes in zip(inside, found.boxes(0.4), strict=True):
        covered = torch.zeros_like(mask)
        for x1, y1, x2, y2 in boxes.tolist():
            part = mask[y1:y2, x1:x2]
            assert part[0].any()
            assert part[-1].any()
            assert part[:, 0].any()
            assert part[:, -1].any()
            covered[y1:y2, x1:x2] = True
        assert (covered | ~mask).all(), "no salient pixel is outside all boxes"
    with pytest.raises(ValueError, match=r"threshold: got 0; give a share of the map's maximum, in \(0, 1\]"):
        found.foreground(0)
    with pytest.raises(ValueError, match=r"threshold: got 2; give a share of the map's maximum, in \(0, 1\]"):
        found.boxes(2)


def test_a_blank_map_has_neither_foreground_nor_box_and_still_a_figure() -> None:
    model = net()
    model.head.weight.data.zero_()
    found = explain(model, photographs(2))
    assert not found.foreground(0.01).any()
    assert [boxes.shape for boxes in found.boxes(0.01)] == [(0, 4)] * 2
    figure = found.figure(threshold=0.01)
    assert figure.axes[1].get_title() == "blank: the gradient is zero"
    assert not figure.axes[1].collections


def test_a_notebook_shows_a_small_picture() -> None:
    explanation: Explanation = explain(net(), photographs(12))
    data = explanation._repr_png_()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    with Image.open(BytesIO(data)) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert 100 < picture.width < 900
        assert 100 < picture.height < 900
        assert len(picture.convert("RGB").getcolors(10**6)) > 100


def test_save_writes_arrays_that_numpy_reads_without_pickle(tmp_path: Path) -> None:
    images, names = photographs(3), tuple("abcde")
    found = explain(net(), images, labels=torch.tensor([0, 1, 2]), class_names=names)
    assert found.save(tmp_path / "maps.npz") == tmp_path / "maps.npz"
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {
            "cams", "saliency", "scores", "target_classes", "labels", "class_names", "method", "target_layer", "task"
        }  # fmt: skip
        for name in ("cams", "saliency", "scores", "target_classes", "labels"):
            np.testing.assert_array_equal(arrays[name], getattr(found, name).numpy())
        assert arrays["saliency"].dtype == np.float32
        assert tuple(arrays["class_names"]) == names
        assert (arrays["method"], arrays["target_layer"], arrays["task"]) == (
            "gradcam",
            found.target_layer,
            "multiclass",
        )


def test_save_leaves_out_what_is_not_known(tmp_path: Path) -> None:
    found = explain(net().bfloat16(), photographs(2), target=lambda scores, labels: scores[:, 0])
    with np.load(found.save(str(tmp_path / "maps.npz"))) as arrays:
        assert not {"target_classes", "labels", "class_names"} & set(arrays)
        assert arrays["scores"].dtype == np.float32
    with pytest.raises(ValueError, match=r"path: got 'maps\.np'; give a name that ends with '\.npz'\."):
        found.save("maps.np")


def titles(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes if axis.images]


def test_a_difference_is_orange_where_the_first_map_is_larger_and_blue_where_the_other_is() -> None:
    images = photographs(2)
    first, *others = [explain(net(), images, target=number, method="hirescam") for number in (0, 1, 2)]
    figure = first.figure(beside=others, difference=True, class_names=["cat", "dog", "cow", "hen", "bee"])
    shown = [axis for axis in figure.axes if axis.images]
    assert len(shown) == 2 * (1 + 3 + 2), "image, three overlays and two differences, of two images"
    assert titles(figure)[4].split("\n") == ["orange: more for cat", "blue: more for dog"]
    assert titles(figure)[11].split("\n") == ["orange: more for cat", "blue: more for cow"]
    pixels = np.asarray(shown[4].images[0].get_array()).astype(float)
    apart = torch.nn.functional.interpolate(
        (first.cams - others[0].cams)[:1, None], (24, 32), mode="bilinear"
    )[0, 0]
    far = apart.abs() > 0.3 * apart.abs().max()
    assert (apart[far] > 0).any()
    assert (apart[far] < 0).any()
    is_warm = torch.from_numpy(pixels[..., 0] > pixels[..., 2])
    assert torch.equal(is_warm[far], apart[far] > 0)


def test_maps_without_a_unit_in_common_are_not_subtracted() -> None:
    images = photographs(1)
    first, other = (explain(net(), images, method=method) for method in ("gradcam", "layercam"))
    first.figure(beside=[other])
    with pytest.raises(
        ValueError, match=r"difference: maps of several methods or layers have no unit in common"
    ):
        first.figure(beside=[other], difference=True)
    assert len(titles(first.figure(beside=[first], difference=True))) == 4
