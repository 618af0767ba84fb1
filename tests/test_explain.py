"""The whole way without Lightning."""

import pytest
import torch
from networks import Net, net, pictures
from torch import Tensor, nn

from lightning_cam import METHODS, STATISTICS, Explanation, explain
from lightning_cam.functional.maps import BLANK_REASONS


class Blob(nn.Module):
    """Class 1 is brightness, class 0 darkness: both by one convolution, averaged over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1)
        with torch.no_grad():
            self.conv.weight[0], self.conv.weight[1] = -1 / 27, 1 / 27
            self.conv.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).relu().mean(dim=(2, 3))


@pytest.mark.parametrize("method", [name for name in METHODS if name != "random"])
def test_the_map_lies_where_the_evidence_is(method: str) -> None:
    images = torch.zeros(2, 3, 20, 30)
    images[0, :, 3:7, 20:26] = 1
    images[1, :, 12:18, 2:7] = 1
    explanation = explain(Blob(), images, method=method, target=1)
    torch.testing.assert_close(explanation.statistic("center_x"), torch.tensor([23 / 30, 4.5 / 30]), atol=0.01, rtol=0)
    torch.testing.assert_close(explanation.statistic("center_y"), torch.tensor([5 / 20, 15 / 20]), atol=0.01, rtol=0)
    assert explanation.saliency[0, 4, 22] == 1
    assert explanation.saliency[0, 15, 4] == 0


def test_what_comes_back() -> None:
    explanation = explain(net(), pictures(4, (16, 24)))
    assert explanation.cams.shape == (4, 8, 12)
    assert explanation.cams.dtype == torch.float32
    assert explanation.saliency.shape == (4, 16, 24)
    assert explanation.scores.shape == (4, 5)
    assert explanation.target_layer == "body"
    assert explanation.method == "gradcam"
    torch.testing.assert_close(explanation.target_classes, explanation.scores.argmax(dim=1))
    torch.testing.assert_close(explanation.scores, net().eval()(pictures(4, (16, 24))).detach())


def test_one_image_is_a_batch_of_one() -> None:
    images = pictures(3)
    torch.testing.assert_close(explain(net(), images[1]).cams, explain(net(), images).cams[1:2])


@pytest.mark.parametrize("max_batch", [1, 2, 3, 100])
def test_batches_of_at_most_max_batch(max_batch: int) -> None:
    sizes = []

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        sizes.append(len(images))
        return model(images)

    labels = torch.tensor([0, 1, 2, 3, 4])
    parts = explain(net(), pictures(5), target="label", labels=labels, forward=forward, max_batch=max_batch)
    assert max(sizes) == min(max_batch, 5)
    torch.testing.assert_close(parts.cams, explain(net(), pictures(5), target="label", labels=labels).cams)


def test_several_methods_from_one_look() -> None:
    runs = []

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        runs.append(len(images))
        return model(images)

    def mine(evidence):
        return evidence.activations.mean(dim=1)

    found = explain(net(), pictures(), method=["gradcam", "eigencam", mine], target_layer="body", forward=forward)
    assert list(found) == ["gradcam", "eigencam", "mine"]
    assert runs == [4]
    torch.testing.assert_close(found["gradcam"].cams, explain(net(), pictures()).cams)


def test_double_precision_models_and_integer_images() -> None:
    assert explain(net().double(), pictures()).cams.dtype == torch.float32

    class Scales(Net):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images / 255)

    levels = (pictures().sigmoid() * 255).to(torch.uint8)
    assert explain(Scales(), levels).cams.isfinite().all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_of_any_number_of_channels_have_a_figure(channels: int) -> None:
    model = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    explanation = explain(model, pictures(2, (20, 12), channels))
    figure = explanation.figure()
    figure.canvas.draw()
    assert len([axis for axis in figure.axes if axis.images]) >= 4


def test_a_blank_map_says_why() -> None:
    model = net()
    model.head.weight.data.zero_()
    explanation = explain(model, pictures())
    assert explanation.blank == ("the gradient is zero",) * 4
    torch.testing.assert_close(explanation.saliency, torch.zeros(4, 16, 16))
    model.head.weight.data.fill_(-1.0)
    assert explain(model, pictures(), target=0).blank == ("nothing speaks for the class",) * 4
    assert set(explanation.blank) <= set(BLANK_REASONS)


def test_statistics_by_name_and_by_function() -> None:
    explanation = explain(net(), pictures())
    masks = torch.zeros(4, 16, 16, dtype=torch.bool)
    masks[:, :8] = True
    assert explanation.statistic("mass_inside", masks).shape == (4,)
    torch.testing.assert_close(
        explanation.statistic(lambda maps: maps.saliency.amax(dim=(1, 2))), explanation.saliency.flatten(1).amax(dim=1)
    )
    with pytest.raises(ValueError, match=r"statistic: no statistic 'border_mas'; did you mean 'border_mass'\?"):
        explanation.statistic("border_mas")
    for name in STATISTICS:
        assert explanation.statistic(name, masks).shape == (4,)


class Probabilities(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(dim=1)


def test_notes_are_warnings() -> None:
    with pytest.warns(UserWarning, match="scores: the model's forward returns probabilities"):
        explain(Probabilities(), pictures())
    with pytest.warns(UserWarning, match="target_layer: 'body' gives maps of only 3 x 3; target_layer='stem.2' gives 6 x 6"):
        explain(net(), pictures(2, (6, 6)))
    with pytest.warns(UserWarning, match="target_layer: 'body' gives maps of only 3 x 3; try an earlier layer"):
        explain(net(), pictures(2, (6, 6)), target_layer="body")
    broken = net()
    broken.head.weight.data[0, 0] = float("nan")
    with pytest.warns(UserWarning, match=r"maps: 4 of 4 are not finite \(NaN or inf\)"):
        explanation = explain(broken, pictures(), target=0)
    assert explanation.blank == ("the map is not finite",) * 4
    assert explanation.saliency.eq(0).all()


NAN = pictures()
NAN[2, 0, 3, 3] = float("nan")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"images": NAN}, ValueError, "images: image 2 holds values that are not finite"),
        ({"images": pictures()[0, 0]}, ValueError, r"images: got a float32 tensor \(16, 16\); give a tensor \(n, c, H, W\)"),
        ({"images": pictures()[None]}, ValueError, r"images: got a float32 tensor \(1, 4, 3, 16, 16\)"),
        ({"images": pictures()[:0]}, ValueError, "with at least one image"),
        ({"images": pictures(), "method": "gradcam+"}, ValueError, r"method: no method 'gradcam\+'; did you mean 'gradcam"),
        ({"images": pictures(), "method": []}, ValueError, "method: got an empty list"),
        ({"images": pictures(), "target": "label"}, ValueError, "labels: target 'label' needs labels and got None"),
        ({"images": pictures(), "target": 5}, ValueError, "target: class index 5 is outside the model's 5 classes"),
        ({"images": pictures(), "labels": torch.zeros(3).long()}, ValueError, r"labels: got an int64 tensor \(3,\) for 4 images"),
        (
            {"images": pictures(), "labels": torch.tensor([0, 1, 2, 5]), "target": "label"},
            ValueError,
            "labels: label 5 is outside the model's 5 classes",
        ),
        (
            {"images": pictures(), "target_layer": "bodi"},
            ValueError,
            r"target_layer: no layer 'bodi' in Net; did you mean 'body'\?",
        ),
        ({"images": pictures(), "target_layer": "xyz"}, ValueError, "its children are stem, body, dropout, head"),
        ({"images": pictures(), "target_layer": "head"}, ValueError, "target_layer: 'head' yields a float32 tensor"),
        ({"images": pictures(), "labels": torch.rand(4)}, ValueError, r"labels: got a float32 tensor \(4,\) for 4 images"),
        ({"images": pictures(), "method": [lambda e: e, lambda e: e]}, ValueError, "method: of 2 methods some share a name"),
        ({"images": pictures(), "max_batch": 0}, ValueError, "max_batch: got 0"),
        ({"images": pictures(), "normalization": "imagenett"}, ValueError, "normalization: got 'imagenett'"),
        (
            {"images": pictures(), "scores": 3},
            ValueError,
            r"scores: the model gives one score per image, a float32 tensor \(5,\); give one per class",
        ),
    ],
)
def test_bad_input(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        explain(net(), **arguments)


class TwoHeads(Net):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        scores = super().forward(images)
        return {"extra": scores[:, None], "logits": scores}


def test_what_is_no_module(unchecked: None) -> None:
    with pytest.raises(TypeError, match=r"model: got a function; give a torch\.nn\.Module"):
        explain(lambda images: images, pictures())


def test_scores_in_a_dict() -> None:
    model = TwoHeads()
    expected = explain(model, pictures(), forward=lambda model, images: Net.forward(model, images)).cams
    for scores in (None, "logits", lambda output: output["extra"][:, 0]):
        torch.testing.assert_close(explain(model, pictures(), scores=scores).cams, expected)


def test_explanations_are_public() -> None:
    assert isinstance(explain(net(), pictures()), Explanation)
