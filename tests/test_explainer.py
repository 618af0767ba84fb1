"""The whole way without Lightning."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from reference import equations as book
from side_by_side import peak_bytes
from support.networks import Net, net, pictures
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_cam import METHODS, STATISTICS, Explanation, explain
from lightning_cam.attribution.config import ExplainConfig, ModelConfig
from lightning_cam.attribution.maps import BLANK_REASONS
from lightning_cam.attribution.methods.table import Method
from lightning_cam.attribution.targets import region, similarity
from lightning_cam.attribution.task import class_probabilities
from lightning_cam.explainer import answer, find_layers


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
    question = ExplainConfig(method, "label", confusions=3, model=ModelConfig(max_batch=2))
    layers = find_layers(question, model, images)
    (found,) = answer(question, model, images, labels, layers).values()
    predicted = found.scores.argmax(dim=1)
    assert (predicted != labels).any()
    (other,) = answer(
        ExplainConfig(method, "label", model=ModelConfig(max_batch=2)), model, images, predicted, layers
    ).values()
    assert_close(found.confusions.predicted, other.cams[:3], rtol=0, atol=0)
    (alone,) = answer(
        ExplainConfig(method, "label", model=ModelConfig(max_batch=2)), model, images, labels, layers
    ).values()
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


SEVERAL = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]])


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam", "gradcam++"])
def test_each_of_several_labels_has_the_map_of_a_look_at_it_alone(method: str) -> None:
    model, images = network(), torch.rand(5, 3, 8, 8)
    question = ExplainConfig(method, "label", confusions=4, model=ModelConfig(max_batch=2))
    layers = find_layers(question, model, images)
    (found,) = answer(question, model, images, SEVERAL.float(), layers).values()
    assert found.task == "multilabel"
    assert found.confusions is None
    shown = found.label_maps
    assert shown.labels.shape == (4, 4)  # at most three labels that an image has, and one that it has not
    assert shown.cams.shape == (4, 4, *found.cams.shape[1:])
    for i in range(4):
        by_strength = found.scores[i].argsort(descending=True).tolist()
        present = [label for label in by_strength if SEVERAL[i, label]][:3]
        absent = [label for label in by_strength if not SEVERAL[i, label]][:1]
        places = shown.labels[i].tolist()
        assert [label for label in places[:-1] if label >= 0] == present
        assert [label for label in places[-1:] if label >= 0] == absent
        for place, label in enumerate(places):
            expected = torch.zeros_like(found.cams[i])
            if label >= 0:
                (alone,) = answer(
                    ExplainConfig(method, label), model, images[i : i + 1], None, layers
                ).values()
                expected = alone.cams[0]
            assert_close(shown.cams[i, place], expected, rtol=1e-4, atol=1e-6)


def test_maps_of_several_labels_cost_no_forward() -> None:
    model, images, runs = network(), torch.rand(5, 3, 8, 8), []
    layers = find_layers(ExplainConfig("gradcam", "label"), model, images)
    model[0].register_forward_hook(lambda *_: runs.append(1))
    answer(ExplainConfig("gradcam", "label", confusions=5), model, images, SEVERAL.float(), layers)
    assert len(runs) == 1


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


NOT_SO_EXACT = {
    "random": "noise",
    "cam": "refuses: a ReLU stands between the layer and the pooling",
    "rise": "random masks with seven cells a side do not find a square of four pixels",
    "dff": "divides what one channel shows among parts",
}


@pytest.mark.parametrize("method", [name for name in METHODS if name not in NOT_SO_EXACT])
def test_the_map_lies_where_the_evidence_is(method: str) -> None:
    images = torch.zeros(2, 3, 20, 30)
    images[0, :, 3:7, 20:26] = 1
    images[1, :, 12:18, 2:7] = 1
    explanation = explain(Blob(), images, method=method, target=1)
    torch.testing.assert_close(
        explanation.statistic("center_x"), torch.tensor([23 / 30, 4.5 / 30]), atol=0.01, rtol=0
    )
    torch.testing.assert_close(
        explanation.statistic("center_y"), torch.tensor([5 / 20, 15 / 20]), atol=0.01, rtol=0
    )
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
    parts = explain(net(), pictures(5), target="label", labels=labels, network=forward, max_batch=max_batch)
    assert max(sizes) == min(max_batch, 5)
    torch.testing.assert_close(parts.cams, explain(net(), pictures(5), target="label", labels=labels).cams)


def test_several_methods_from_one_look() -> None:
    runs = []

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        runs.append(len(images))
        return model(images)

    def mine(evidence):
        return evidence.activations.mean(dim=1)

    found = explain(
        net(), pictures(), method=["gradcam", "eigencam", mine], target_layer="body", network=forward
    )
    assert list(found) == ["gradcam", "eigencam", "mine"]
    assert runs == [4]
    torch.testing.assert_close(found["gradcam"].cams, explain(net(), pictures()).cams)


def book_fusion(maps: list[Tensor]) -> Tensor:
    """LayerCAM, eq. 9 and 10, image by image."""
    size = max((tuple(cams.shape[1:]) for cams in maps), key=lambda size: size[0] * size[1])
    fused = torch.zeros(len(maps[0]), *size, dtype=torch.float64)
    for cams in maps:
        for image, cam in enumerate(cams.double().numpy()):
            large = book.upsample(cam, size).clip(min=0)
            fused[image] = torch.maximum(fused[image], torch.tanh(2 * torch.from_numpy(large / large.max())))
    return fused


@pytest.mark.parametrize("method", ["layercam", "gradcam", "eigencam"])
def test_several_layers_are_fused_as_layercam_does(method: str) -> None:
    runs = []

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        runs.append(len(images))
        return model(images)

    layers = ["body", "stem.0", "stem.2"]
    fused = explain(net(), pictures(), method=method, target_layer=layers, network=forward)
    assert runs == [4], "one forward for all layers"
    assert fused.target_layer == "body + stem.0 + stem.2"
    alone = [explain(net(), pictures(), method=method, target_layer=layer).cams for layer in layers]
    assert {tuple(cams.shape[1:]) for cams in alone} == {(8, 8), (16, 16)}
    torch.testing.assert_close(fused.cams, book_fusion(alone).float(), atol=1e-5, rtol=0)
    halves = explain(net(), pictures(), method=method, target_layer=layers, max_batch=2)
    torch.testing.assert_close(halves.cams, fused.cams, atol=1e-5, rtol=0)


def test_a_list_of_one_layer_is_that_layer() -> None:
    torch.testing.assert_close(
        explain(net(), pictures(), target_layer=["body"]).cams, explain(net(), pictures()).cams
    )


def test_options_by_partial() -> None:
    few = partial(METHODS["scorecam"], top_k=2)
    found = explain(net(), pictures(), method=[few, "scorecam", partial(METHODS["dff"], parts=3)])
    assert list(found) == ["scorecam(top_k=2)", "scorecam", "dff(parts=3)"]
    assert not torch.equal(found["scorecam(top_k=2)"].cams, found["scorecam"].cams)
    assert found["scorecam"].parts is None
    assert found["dff(parts=3)"].parts.shape == (4, 3, 8, 8)
    torch.testing.assert_close(found["dff(parts=3)"].cams, found["dff(parts=3)"].parts[:, 0])


@pytest.mark.parametrize("max_batch", [1, 3, None])
def test_parts_are_those_of_all_images_together(max_batch: int | None) -> None:
    found = explain(net(), pictures(7), method="dff", max_batch=max_batch)
    assert found.parts.shape == (7, 5, 8, 8)
    torch.testing.assert_close(
        found.parts, explain(net(), pictures(7), method="dff").parts, atol=1e-5, rtol=1e-4
    )
    assert not torch.allclose(found.parts[:3], explain(net(), pictures(7)[:3], method="dff").parts, atol=1e-2)


def test_a_method_of_all_images_sees_activations_alone() -> None:
    with pytest.raises(
        ValueError, match="a method that looks at all images together sees their activations alone"
    ):
        explain(
            net(),
            pictures(),
            method=Method(lambda e: e.gradients[:, 0], "", True, "", "", parts=lambda e: e.gradients),
        )


def test_the_index_says_which_image_a_row_is() -> None:
    """A model of two inputs: the second is looked up by the index, in every batch and for every covered copy."""
    shift = torch.linspace(-2, 2, 5)

    def forward(model: nn.Module, images: Tensor, index: Tensor) -> Tensor:
        return model(images) * shift[index][:, None]

    def alone(image: int, method: str) -> Tensor:
        return explain(
            net(), pictures(5)[image], method=method, target=1, network=lambda m, x: m(x) * shift[image]
        ).cams

    for method in ("hirescam", "ablationcam", "scorecam", "smoothgradcam++"):
        expected = torch.cat([alone(image, method) for image in range(5)])
        for max_batch in (2, None):
            found = explain(net(), pictures(5), method=method, target=1, network=forward, max_batch=max_batch)
            torch.testing.assert_close(found.cams, expected, atol=1e-5, rtol=1e-4)


def test_one_score_per_image_is_a_binary_head() -> None:
    class Binary(Net):
        def __init__(self, shape: tuple[int, ...]) -> None:
            super().__init__(classes=1)
            self.shape = shape

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).reshape(-1, *self.shape)

    torch.manual_seed(0)
    weights = Net(classes=1).state_dict()
    found = []
    for shape in ((), (1,)):
        model = Binary(shape).eval()
        model.load_state_dict(weights)
        logit = model(pictures()).flatten().detach()
        for target, sign in ((1, 1), (0, -1)):
            explanation = explain(model, pictures(), method="hirescam", target=target, task="binary")
            torch.testing.assert_close(explanation.scores, torch.stack([-logit, logit], dim=1))
            leaf = model.trunk(pictures()).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(sign * model.tail(leaf).sum(), leaf)
            torch.testing.assert_close(explanation.cams, (leaf * gradient).sum(dim=1).detach())
        torch.testing.assert_close(class_probabilities(explanation.scores)[:, 1], logit.sigmoid())
        found.append(explain(model, pictures(), target="probability", labels=torch.tensor([0, 1, 1, 0])).cams)
    torch.testing.assert_close(*found)


def test_several_labels_an_image_are_explained_by_the_sum_of_their_scores() -> None:
    several = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]])
    found = explain(net(), pictures(), method="hirescam", target="label", labels=several, max_batch=3)
    each = [explain(net(), pictures(), method="hirescam", target=label).cams for label in range(5)]
    expected = sum(several[:, label, None, None] * each[label] for label in range(5))
    torch.testing.assert_close(found.cams, expected, atol=1e-5, rtol=1e-4)
    assert found.target_classes is None
    with pytest.raises(
        ValueError, match="labels: target 'finer' is about one class and got several per image"
    ):
        explain(net(), pictures(), target="finer", labels=several)
    with pytest.raises(ValueError, match="labels: got 4 columns for the model's 5 classes"):
        explain(net(), pictures(), target="label", labels=several[:, :4])
    with pytest.raises(ValueError, match=r"labels: got whole numbers \(4, 5\) that are not all 0 or 1"):
        explain(net(), pictures(), target="label", labels=2 * several)


class Segments(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())
        self.classify, self.upsample = nn.Conv2d(6, 4, 1), nn.Upsample(scale_factor=2)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found = self.upsample(self.classify(self.features(images)))
        return {"aux": found[:, :1], "out": found}


def test_segmentation_is_explained_by_the_scores_of_a_region() -> None:
    model, where = Segments(), torch.zeros(16, 16, dtype=torch.bool)
    where[4:8, 2:10] = True
    found = explain(model, pictures(), method="hirescam", target=region(2, where), target_layer="features")
    leaf = model.features(pictures()).detach().requires_grad_()
    score = model.upsample(model.classify(leaf))[:, 2, 4:8, 2:10].sum()
    (gradient,) = torch.autograd.grad(score, leaf)
    torch.testing.assert_close(found.cams, (leaf * gradient).sum(dim=1).detach())
    assert found.cams[:, 4:].eq(0).all()
    assert found.scores.shape == (4, 4), "the mean over positions"
    own = model(pictures())["out"].argmax(dim=1) == 2
    leaf = model.features(pictures()).detach().requires_grad_()
    (gradient,) = torch.autograd.grad((model.upsample(model.classify(leaf))[:, 2] * own).sum(), leaf)
    found = explain(model, pictures(), method="hirescam", target=region(2), target_layer="features")
    torch.testing.assert_close(found.cams, (leaf * gradient).sum(dim=1).detach())
    with pytest.raises(
        ValueError, match=r"scores: no class scores \(n, C\) found in the model's output, which is a dict"
    ):
        explain(model, pictures(), target=2, target_layer="features")


def test_detections_are_explained_by_a_function_of_the_output() -> None:
    class Detects(Net):
        def forward(self, images: Tensor) -> list[dict[str, Tensor]]:
            return [
                {"boxes": torch.zeros(5, 4), "scores": scores} for scores in super().forward(images).sigmoid()
            ]

    def strongest(output: list[dict[str, Tensor]]) -> Tensor:
        return torch.stack([one["scores"].amax() for one in output])

    model = Detects()
    model.load_state_dict(net().state_dict())
    found = explain(model, pictures(), method="hirescam", scores=strongest, target="output")
    assert found.task == "regression"
    same = explain(
        net(), pictures(), method="hirescam", target=lambda scores, labels: scores.sigmoid().amax(dim=1)
    )
    torch.testing.assert_close(found.cams, same.cams)


def test_embeddings_are_explained_by_their_similarity_to_a_reference() -> None:
    reference = torch.tensor([1.0, 0.0, -2.0, 0.5, 0.0])
    found = explain(net(), pictures(), method="hirescam", target=similarity(reference))
    cosine = lambda scores, labels: (scores @ reference) / (scores.norm(dim=1) * reference.norm())  # noqa: E731
    torch.testing.assert_close(found.cams, explain(net(), pictures(), method="hirescam", target=cosine).cams)


class Holds:
    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


@pytest.mark.parametrize(
    "wrap", [lambda s: (s, s[:, :1]), lambda s: {"logits": s}, lambda s: [s], Holds], ids=["t", "d", "l", "o"]
)
def test_outputs_of_any_kind(wrap) -> None:
    found = explain(net(), pictures(), network=lambda model, images: wrap(model(images)))
    torch.testing.assert_close(found.cams, explain(net(), pictures()).cams)


def signals() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layers = [
        nn.Conv1d(2, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(6, 8, 3, padding=1),
        nn.GELU(),
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3)), torch.randn(
        3, 2, 40
    )


def volumes() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layers = [
        nn.Conv3d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Conv3d(6, 8, 3, padding=1),
        nn.GELU(),
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 3)), torch.randn(
        3, 1, 8, 10, 6
    )


@pytest.mark.parametrize("case", [signals, volumes])
@pytest.mark.parametrize("method", METHODS)
def test_signals_and_volumes(method: str, case) -> None:
    model, images = case()
    few = {"rise": {"masks": 20}, "sscam": {"samples": 2}}.get(method, {})
    found = explain(model, images, method=partial(METHODS[method], **few))
    assert found.target_layer == "4"
    assert found.saliency.shape == images[:, 0].shape
    assert found.cams.isfinite().all()
    assert found.cams.flatten(1).std(dim=1).gt(0).all()
    one = explain(model, images[1], method=partial(METHODS[method], **few))
    if method not in ("dff", "random"):
        torch.testing.assert_close(one.cams, found.cams[1:2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", [signals, volumes])
def test_grad_cam_of_signals_and_volumes_by_hand(case) -> None:
    model, images = case()
    leaf = model[:5](images).detach().requires_grad_()
    scores = model[5:](leaf)
    (gradient,) = torch.autograd.grad(scores.amax(dim=1).sum(), leaf)
    positions = tuple(range(2, leaf.ndim))
    expected = (gradient.mean(dim=positions, keepdim=True) * leaf).sum(dim=1).relu()
    torch.testing.assert_close(explain(model, images).cams, expected.detach())


def test_autocast_is_for_the_model_and_not_for_the_map() -> None:
    seen = []

    def product(evidence):
        seen.append(torch.is_autocast_enabled("cpu"))
        return torch.einsum("nkhw,nkhw->nhw", evidence.activations, evidence.gradients)

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        scores = model(images)
        seen.append(scores.dtype)
        return scores

    before = torch.get_default_dtype()
    with torch.autocast("cpu", torch.bfloat16):
        made = explain(net(), pictures(), method=product, network=forward, target_layer="body")
        assert torch.is_autocast_enabled("cpu")
        expected = explain(net(), pictures(), method="hirescam", target_layer="body")
    assert seen == [torch.bfloat16, False]
    torch.testing.assert_close(made.cams, expected.cams, atol=1e-6, rtol=1e-6)
    assert torch.get_default_dtype() == before


COSTLY = {
    "rise": {"masks": 8},
    "sscam": {"samples": 2},
    "iscam": {"steps": 2},
    "smoothgradcam++": {"samples": 2},
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("method", METHODS)
def test_memory_beyond_activations_and_gradients_does_not_grow_with_the_images(method: str) -> None:
    model, images = net(), pictures(24, (64, 64))
    how = partial(METHODS[method], **COSTLY.get(method, {}))
    few, many = (
        peak_bytes(
            lambda n=n: explain(model, images[:n], method=how, target=1, target_layer="body", max_batch=4),
            images.device,
        )
        for n in (4, 24)
    )
    at_the_layer, of_a_map = 8 * 32 * 32 * 4, 64 * 64 * 4 if method == "rise" else 32 * 32 * 4
    # Of dff all images' activations are held, as batches, as one, and as a matrix; of the others not even those.
    assert many - few <= 20 * (8 * at_the_layer if method == "dff" else 4 * of_a_map)


def test_double_precision_models_and_integer_images() -> None:
    assert explain(net().double(), pictures()).cams.dtype == torch.float32

    class Scales(Net):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images / 255)

    levels = (pictures().sigmoid() * 255).to(torch.uint8)
    model = Scales()
    assert explain(model, levels).cams.isfinite().all()
    for method in (
        "scorecam",
        partial(METHODS["rise"], masks=20),
    ):  # covered to the next level, not to nothing
        exact = explain(model, levels.float(), method=method).saliency
        torch.testing.assert_close(explain(model, levels, method=method).saliency, exact, atol=0.02, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_of_any_number_of_channels_have_a_figure(channels: int) -> None:
    model = nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
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
    assert explain(model, pictures(), target=0).blank == ("no evidence for the class",) * 4
    assert set(explanation.blank) <= set(BLANK_REASONS)


def test_statistics_by_name_and_by_function() -> None:
    explanation = explain(net(), pictures())
    masks = torch.zeros(4, 16, 16, dtype=torch.bool)
    masks[:, :8] = True
    assert explanation.statistic("mass_inside", masks).shape == (4,)
    torch.testing.assert_close(
        explanation.statistic(lambda maps: maps.saliency.amax(dim=(1, 2))),
        explanation.saliency.flatten(1).amax(dim=1),
    )
    with pytest.raises(
        ValueError, match=r"statistic: no statistic 'border_mas'; did you mean 'border_mass'\?"
    ):
        explanation.statistic("border_mas")
    for name in STATISTICS:
        assert explanation.statistic(name, masks).shape == (4,)


class Probabilities(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(dim=1)


def test_notes_are_warnings() -> None:
    with pytest.warns(UserWarning, match="scores: the model's forward returns probabilities"):
        explain(Probabilities(), pictures())
    with pytest.warns(
        UserWarning, match="target_layer: 'body' gives maps of only 3 x 3; target_layer='stem.2' gives 6 x 6"
    ):
        explain(net(), pictures(2, (6, 6)))
    with pytest.warns(
        UserWarning, match="target_layer: 'body' gives maps of only 3 x 3; try an earlier layer"
    ):
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
        (
            {"images": pictures()[0, 0]},
            ValueError,
            r"images: got a float32 tensor \(16, 16\); give a tensor \(n, c, H, W\)",
        ),
        (
            {"images": pictures()[None]},
            ValueError,
            r"images: got a float32 tensor \(1, 4, 3, 16, 16\); .* of 4 dim",
        ),
        (
            {"images": pictures()[None, None]},
            ValueError,
            r"images: got a float32 tensor \(1, 1, 4, 3, 16, 16\)",
        ),
        ({"images": pictures()[:0]}, ValueError, "with at least one image"),
        (
            {"images": pictures(), "method": "gradcam+"},
            ValueError,
            r"method: no method 'gradcam\+'; did you mean 'gradcam",
        ),
        ({"images": pictures(), "method": []}, ValueError, "method: got an empty list"),
        (
            {"images": pictures(), "target": "label"},
            ValueError,
            "labels: target 'label' needs labels and got None",
        ),
        (
            {"images": pictures(), "target": 5},
            ValueError,
            "target: class index 5 is outside the model's 5 classes",
        ),
        (
            {"images": pictures(), "labels": torch.zeros(3).long()},
            ValueError,
            r"labels: got an int64 tensor \(3,\) for 4 images",
        ),
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
        (
            {"images": pictures(), "target_layer": "xyz"},
            ValueError,
            "its children are stem, body, dropout, head",
        ),
        (
            {"images": pictures(), "target_layer": "head"},
            ValueError,
            "target_layer: 'head' yields a float32 tensor",
        ),
        (
            {"images": pictures(), "labels": torch.rand(4, 2, 2)},
            ValueError,
            r"labels: got a float32 tensor \(4, 2, 2\) for 4 images",
        ),
        (
            {"images": pictures(), "method": [lambda e: e, lambda e: e]},
            ValueError,
            "method: of 2 methods some share a name",
        ),
        ({"images": pictures(), "max_batch": 0}, ValueError, "max_batch: got 0"),
        ({"images": pictures(), "normalization": "imagenett"}, ValueError, "normalization: got 'imagenett'"),
        (
            {"images": pictures(), "scores": 3},
            ValueError,
            r"scores: no 3 in a float32 tensor \(1, 5\); give a key or index that is there",
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
    expected = explain(model, pictures(), network=lambda model, images: Net.forward(model, images)).cams
    for scores in (None, "logits", lambda output: output["extra"][:, 0]):
        torch.testing.assert_close(explain(model, pictures(), scores=scores).cams, expected)


def test_explanations_are_public() -> None:
    assert isinstance(explain(net(), pictures()), Explanation)


# --- tasks


class Ending(nn.Module):
    """A network, and what comes after it."""

    def __init__(self, classes: int, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.end = Net(classes=classes), end

    def forward(self, images: Tensor) -> Tensor:
        return self.end(self.net(images))


def test_a_probability_is_turned_back_into_a_logit() -> None:
    labels = torch.tensor([1.0, 0.0, 0.0, 1.0])
    for end in (torch.sigmoid, lambda logits: logits.sigmoid().squeeze(1)):
        found = explain(Ending(1, end), pictures(), method="hirescam", target="label", labels=labels)
        plain = explain(
            Ending(1, lambda logits: logits), pictures(), method="hirescam", target="label", labels=labels
        )
        assert (found.task, found.activation, plain.activation) == ("binary", "sigmoid", "")
        assert_close(found.scores, plain.scores)
        assert_close(found.cams, plain.cams)
        assert_close(found.labels, labels.long())


def test_a_sigmoid_alone_shows_a_binary_head() -> None:
    found = explain(Ending(1, torch.sigmoid), pictures())
    assert (found.task, found.notes) == ("binary", ())
    with pytest.warns(UserWarning, match="task: one output per image is read as the logit of a binary head"):
        explain(Ending(1, lambda logits: logits), pictures())
    assert explain(Ending(1, lambda logits: logits), pictures(), task="binary").notes == ()


@pytest.mark.parametrize("max_batch", [None, 3])
def test_several_sigmoids_without_labels_are_asked_about(max_batch: int | None) -> None:
    model = Ending(5, torch.sigmoid)
    with pytest.raises(
        ValueError, match=r"task: the network's 5 outputs end in a sigmoid, .* give task='multilabel'"
    ):
        explain(model, pictures(), max_batch=max_batch)
    found = explain(model, pictures(), max_batch=max_batch, task="multilabel")
    logits = model.eval().net(pictures())
    assert_close(found.scores, logits.detach(), rtol=1e-4, atol=1e-5)
    assert found.target_classes.tolist() == logits.argmax(dim=1).tolist()


def test_the_task_is_decided_by_all_labels_once() -> None:
    """The first batch alone would show zeros and ones."""
    labels = torch.tensor([0.0, 1.0, 1.0, 51.5])
    found = explain(Ending(1, lambda logits: 10 * logits + 45), pictures(), labels=labels, max_batch=1)
    assert found.task == "regression"
    assert found.scores.shape == (4, 1)
    assert_close(found.labels, labels)


@pytest.mark.parametrize("target", ["label", "predicted", "output", 0])
def test_a_regression_is_explained_by_its_output(target: str | int) -> None:
    model, labels = Ending(2, lambda numbers: numbers), torch.rand(4, 2)
    found = explain(model, pictures(), method="hirescam", target=target, labels=labels)
    leaf = model.eval().net.trunk(pictures()).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.net.tail(leaf)[:, 0].sum(), leaf)
    assert_close(found.cams, (leaf * gradient).sum(dim=1).detach())
    assert found.task == "regression"


def test_what_the_user_says_of_the_task_wins() -> None:
    labels = torch.tensor([0, 1, 1, 0])
    found = explain(
        Ending(1, lambda logits: logits), pictures(), target="label", labels=labels, task="regression"
    )
    assert (found.task, found.scores.shape, found.labels.dtype) == ("regression", (4, 1), torch.float32)
    with pytest.raises(ValueError, match="task: no task 'regresion'; did you mean 'regression'"):
        explain(net(), pictures(), task="regresion")


def test_a_class_by_its_name() -> None:
    names = ["cat", "dog", "fox", "owl", "bee"]
    found = explain(net(), pictures(), target="fox", class_names=names)
    assert found.target_classes.tolist() == [2] * 4
    assert found.class_names == tuple(names)
    assert_close(found.cams, explain(net(), pictures(), target=2).cams)
    with pytest.raises(ValueError, match="target: no target 'foxx'; did you mean 'fox'"):
        explain(net(), pictures(), target="foxx", class_names=names)
    with pytest.raises(
        ValueError, match=r"target: no target 'fox'; there are .* class names where they are given"
    ):
        explain(net(), pictures(), target="fox")


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.bool, torch.uint8], ids=str)
def test_several_labels_of_any_dtype(dtype: torch.dtype) -> None:
    several = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]])
    found = explain(net(), pictures(), target="label", labels=several.to(dtype))
    assert found.task == "multilabel"
    assert_close(found.labels, several.float())
    assert_close(found.cams, explain(net(), pictures(), target="label", labels=several).cams)
    assert found.cams[3].abs().max() == 0  # nothing is there to be explained
