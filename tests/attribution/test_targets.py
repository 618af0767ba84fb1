"""What is explained: the label's score, the predicted class', a class', or a function of the scores."""

from math import exp

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_cam import explain
from lightning_cam.attribution.capture import capture, find_layer
from lightning_cam.attribution.resolved_target import check_target, resolve_target, target_classes
from lightning_cam.attribution.targets import (
    TARGETS,
    WEIGHS_CLASSES,
    contrast,
    label_score,
    predicted_score,
)
from lightning_cam.attribution.task import class_probabilities

SCORES = torch.tensor([[0.5, -1.0, 2.0, 0.0, 1.0], [-3.0, -2.0, -7.0, -2.5, -4.0], [1.0, 1.0, 0.0, 0.0, 9.0]])
LABELS = torch.tensor([3, 1, 0])


def model() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 6, 3),
        nn.Tanh(),
        nn.Conv2d(6, 4, 3),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    ]
    return nn.Sequential(*layers).double()


def images() -> Tensor:
    return torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def gradients(target, labels: Tensor | None = None) -> Tensor:
    network = model()
    layer = find_layer(network, images(), "1")
    with capture(network, images(), target_layer=layer, target=target, labels=labels) as evidence:
        return evidence.gradients


def gradients_of(score) -> Tensor:
    """By plain autograd; ``score`` is a function of the scores."""
    network = model()
    activations = network[:2](images())
    return torch.autograd.grad(score(network[2:](activations)).sum(), activations)[0]


# --- Scores


def test_rows():
    assert TARGETS["label"] is label_score
    assert TARGETS["predicted"] is predicted_score
    for target in TARGETS.values():
        assert target(SCORES, LABELS).shape == (3,)


def test_label_score_is_the_score_of_the_label():
    assert_close(label_score(SCORES, LABELS), torch.tensor([0.0, -2.0, 1.0]))


def test_predicted_score_is_the_largest():
    assert_close(predicted_score(SCORES), torch.tensor([2.0, -2.0, 9.0]))
    assert_close(predicted_score(SCORES, LABELS), torch.tensor([2.0, -2.0, 9.0]))


def book(name: str, scores: list[float], c: int) -> float:
    """Each target again, for one image and its class c, in plain loops."""
    others = [score for j, score in enumerate(scores) if j != c]
    if name == "finer":
        closest = sorted(others, key=lambda score: abs(score - scores[c]))[:3]
        return scores[c] - 0.6 * sum(closest) / len(closest)
    if name == "contrast":
        return scores[c] - max(others)
    if name == "counterfactual":
        return -scores[c]
    if name == "probability":
        return exp(scores[c]) / sum(exp(score) for score in scores)
    if name == "output":
        return scores[0]
    return scores[c] if name == "label" else max(scores)


@pytest.mark.parametrize(
    ("name", "labels"),
    [*[(name, LABELS) for name in TARGETS], *[(name, None) for name in TARGETS if name != "label"]],
)
def test_equals_the_book(name, labels):
    classes = SCORES.argmax(dim=1) if labels is None else labels
    expected = [book(name, scores, c) for scores, c in zip(SCORES.tolist(), classes.tolist(), strict=True)]
    assert_close(TARGETS[name](SCORES, labels), torch.tensor(expected))
    everyone = torch.arange(3)
    assert_close(resolve_target(name, SCORES, labels).score(SCORES, everyone), torch.tensor(expected))
    assert_close(
        resolve_target(name, SCORES, labels).score(SCORES[[2, 0]], everyone[[2, 0]]),
        torch.tensor(expected)[[2, 0]],
    )


def test_finer_with_fewer_classes_than_it_compares():
    two = SCORES[:, :2]
    assert_close(TARGETS["finer"](two, torch.tensor([0, 1, 1])), torch.tensor([0.5 + 0.6, -2 + 1.8, 1 - 0.6]))


def test_weighted_sums_are_weighted_sums():
    """Of these rows the gradient is the same everywhere near the scores, so it can stand for the target."""
    for name, row in TARGETS.items():
        near = [
            torch.autograd.functional.jacobian(lambda s, r=row: r(s, LABELS).sum(), SCORES * f)
            for f in (1.0, 1.001)
        ]
        assert torch.equal(*near) == (name in WEIGHS_CLASSES)


def test_contrast_of_two_classes():
    assert_close(contrast(2, 0)(SCORES, None), torch.tensor([1.5, -4.0, -1.0]))


def test_probabilities():
    assert_close(class_probabilities(SCORES), SCORES.softmax(dim=1))
    logit = torch.tensor([0.0, 2.0, -5.0])
    assert_close(class_probabilities(torch.stack([-logit, logit], dim=1))[:, 1], logit.sigmoid())
    assert_close(class_probabilities(SCORES[:, :2]), SCORES[:, :2].softmax(dim=1))


def test_infinite_scores_of_other_classes_do_not_spoil_the_target():
    scores = torch.tensor([[1.0, -torch.inf, 2.0]])
    assert_close(
        resolve_target("label", scores, torch.tensor([2])).score(scores, torch.tensor([0])),
        torch.tensor([2.0]),
    )


@pytest.mark.parametrize(
    ("target", "labels", "expected"),
    [
        ("label", LABELS, [3, 1, 0]),
        (label_score, LABELS, [3, 1, 0]),
        ("predicted", None, [2, 1, 4]),
        ("predicted", LABELS, [2, 1, 4]),
        (predicted_score, None, [2, 1, 4]),
        ("finer", LABELS, [3, 1, 0]),
        ("contrast", None, [2, 1, 4]),
        ("counterfactual", LABELS, [3, 1, 0]),
        ("probability", None, [2, 1, 4]),
        (0, None, [0, 0, 0]),
        (4, LABELS, [4, 4, 4]),
    ],
)
def test_target_classes(target, labels, expected):
    assert_close(target_classes(target, SCORES, labels), torch.tensor(expected))


def test_a_function_of_its_own_has_no_target_class():
    assert target_classes(lambda scores, labels: scores.sum(dim=1), SCORES, LABELS) is None


# --- What is differentiated


@pytest.mark.parametrize(
    ("target", "score"),
    [
        ("label", lambda scores: scores[[0, 1, 2], [3, 1, 0]]),
        ("predicted", lambda scores: scores.amax(dim=1)),
        (2, lambda scores: scores[:, 2]),
        (
            lambda scores, labels: scores[:, 1] - scores[:, 4] ** 2,
            lambda scores: scores[:, 1] - scores[:, 4] ** 2,
        ),
        (
            lambda scores, labels: scores[[0, 1, 2], labels] - scores[:, 0],
            lambda scores: scores[[0, 1, 2], [3, 1, 0]] - scores[:, 0],
        ),
    ],
    ids=["label", "predicted", "index", "contrast", "contrast_with_label"],
)
def test_gradients_are_those_of_the_target(target, score):
    expected = gradients_of(score)
    assert expected.abs().amax() > 0
    assert_close(gradients(target, LABELS), expected)


def test_explanation_says_which_class_it_explains():
    network = model()
    predicted = network(images()).argmax(dim=1)
    assert_close(explain(network, images(), target_layer="1").target_classes, predicted)
    assert_close(
        explain(network, images(), target_layer="1", target="label", labels=LABELS).target_classes, LABELS
    )
    assert_close(
        explain(network, images(), target_layer="1", target=4).target_classes, torch.tensor([4, 4, 4])
    )
    contrast = explain(
        network, images(), target_layer="1", target=lambda scores, labels: scores[:, 0] - scores[:, 1]
    )
    assert contrast.target_classes is None


# --- Errors


@pytest.mark.parametrize(
    "target", ["label", "predicted", 0, 7, label_score, lambda scores, labels: scores[:, 0]]
)
def test_targets_that_can_be_used(target):
    check_target(target)


def test_unknown_name():
    with pytest.raises(ValueError, match=r"^target: no target 'lable'; did you mean 'label'\?$"):
        check_target("lable")


def test_unknown_name_with_nothing_close():
    with pytest.raises(ValueError, match=r"^target: no target 'xyz'; there are label, predicted"):
        check_target("xyz")


def test_negative_index():
    with pytest.raises(ValueError, match=r"^target: class index -1 is negative; class indices start at 0\.$"):
        check_target(-1)


@pytest.mark.parametrize("target", [1.5, None, True, ["label"]], ids=repr)
def test_neither_name_nor_index_nor_function(target, unchecked):
    with pytest.raises(TypeError, match=r"^target: got .*; give a name or a function\.$"):
        check_target(target)


@pytest.mark.parametrize("target", [5, 1000])
def test_index_outside_the_classes(target):
    with pytest.raises(
        ValueError, match=rf"^target: class index {target} is outside the model's 5 classes; use 0 to 4\.$"
    ):
        target_classes(target, SCORES, None)


@pytest.mark.parametrize("label", [-1, 5, -100])
def test_label_outside_the_classes(label):
    with pytest.raises(
        ValueError,
        match=rf"^labels: label {label} is outside the model's 5 classes; labels run from 0 to 4\.$",
    ):
        target_classes("label", SCORES, torch.tensor([0, label, 2]))


@pytest.mark.parametrize("target", ["label", label_score], ids=["name", "function"])
def test_missing_labels(target):
    message = r"^labels: target 'label' needs labels and got None; pass labels, or target='predicted'\.$"
    with pytest.raises(ValueError, match=message):
        target_classes(target, SCORES, None)


def test_explain_passes_these_errors_on():
    with pytest.raises(ValueError, match=r"^target: no target 'predict'; did you mean 'predicted'\?"):
        explain(model(), images(), target="predict")
    with pytest.raises(ValueError, match=r"^target: class index -2 is negative"):
        explain(model(), images(), target=-2)
    with pytest.raises(ValueError, match=r"^target: class index 9 is outside the model's 5 classes"):
        explain(model(), images(), target=9)
    with pytest.raises(ValueError, match=r"^labels: target 'label' needs labels"):
        explain(model(), images(), target="label")
    with pytest.raises(ValueError, match=r"^labels: label 5 is outside the model's 5 classes"):
        explain(model(), images(), target="label", labels=torch.tensor([0, 5, 1]))


@pytest.mark.parametrize(
    "target",
    [
        lambda scores, labels: scores,
        lambda scores, labels: scores.sum(),
        lambda scores, labels: scores[:1, 0],
    ],
    ids=["all_scores", "one_number", "one_image"],
)
def test_a_function_must_return_one_score_per_image(target):
    with pytest.raises(
        ValueError,
        match=r"^target: the function returned a float64 tensor .*; return one score per image, \(3,\)\.$",
    ):
        explain(model(), images(), target=target)
