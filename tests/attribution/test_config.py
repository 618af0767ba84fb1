"""What is asked of a model: how it is run and read, and one class per image as the target."""

import copy
import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_cam.attribution.config import ExplainConfig, ModelConfig, method_row, readable_name
from lightning_cam.attribution.methods.table import METHODS
from lightning_cam.attribution.targets import TARGETS
from lightning_cam.explainer import answer, explain, find_layers
from lightning_cam.metrics import average_drop, deletion

CLASSES = [3, 0, 4, 1, 3]
FEW_PASSES: dict[str, dict[str, Any]] = {
    "sscam": {"samples": 2},
    "iscam": {"steps": 2},
    "smoothgradcam++": {"samples": 2},
    "rise": {"masks": 10},
}
OF_A_TARGET = [name for name, row in METHODS.items() if method_row(row).of_target]


def network() -> nn.Module:
    """Two layers with maps, and a head of five classes that bends, so that each class has another gradient."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 8),
            nn.Tanh(),
            nn.Linear(8, 5),
        )


def linear_head() -> nn.Module:
    """Global average pooling and one linear layer, as CAM wants it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
        )


def images(count: int = 5) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def few_passes(name: str) -> Any:
    return partial(METHODS[name], **FEW_PASSES[name]) if name in FEW_PASSES else name


# ---- one class per image


@pytest.mark.parametrize("name", OF_A_TARGET)
def test_one_class_per_image_is_each_image_with_its_class(name: str) -> None:
    model = linear_head() if name == "cam" else network()
    found = explain(model, images(), method=few_passes(name), target=CLASSES)
    assert found.target_classes.tolist() == CLASSES
    for image, number in enumerate(CLASSES):
        alone = explain(model, images()[image], method=few_passes(name), target=number)
        assert_close(found.cams[image], alone.cams[0], rtol=1e-4, atol=1e-6)
    same = explain(model, images(), method=few_passes(name), target=0)
    assert not torch.allclose(found.cams, same.cams), "the classes matter"


@pytest.mark.parametrize("max_batch", [1, 2, 3, 5, 7])
def test_each_batch_gets_the_classes_of_its_own_images(max_batch: int) -> None:
    methods = ["gradcam", "scorecam", "eigencam"]
    whole = explain(network(), images(), method=methods, target=CLASSES)
    parts = explain(network(), images(), method=methods, target=CLASSES, max_batch=max_batch)
    for name in methods:
        assert_close(parts[name].cams, whole[name].cams, rtol=1e-4, atol=1e-6)
        assert parts[name].target_classes.tolist() == CLASSES


def test_several_methods_and_several_layers() -> None:
    found = explain(
        network(), images(), method=["layercam", "dff"], target=CLASSES, target_layer=["1", "3"], max_batch=2
    )
    for image, number in enumerate(CLASSES):
        alone = explain(network(), images()[image], method="layercam", target=number, target_layer=["1", "3"])
        assert_close(found["layercam"].cams[image], alone.cams[0], rtol=1e-4, atol=1e-6)
    assert found["dff"].target_classes.tolist() == CLASSES


@pytest.mark.parametrize(
    "given",
    [
        tuple(CLASSES),
        torch.tensor(CLASSES),
        torch.tensor(CLASSES, dtype=torch.int32),
        torch.tensor(CLASSES, dtype=torch.uint8),
        list(np.array(CLASSES)),
    ],
    ids=["tuple", "int64", "int32", "uint8", "numpy"],
)
@pytest.mark.usefixtures("unchecked")
def test_forms_of_one_class_per_image(given: Any) -> None:
    expected = explain(network(), images(), target=CLASSES)
    assert_close(explain(network(), images(), target=given).cams, expected.cams, rtol=0, atol=0)


def test_one_image_and_a_list_of_one() -> None:
    expected = explain(network(), images()[0], target=3)
    assert_close(explain(network(), images()[0], target=[3]).cams, expected.cams, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ([0, 1], ValueError, r"target: got 2 classes for 5 images; give one class per image, or one for all"),
        ([0] * 6, ValueError, r"target: got 6 classes for 5 images"),
        (
            [0, 1, 5, 0, 0],
            ValueError,
            r"target: class index 5 is outside .* 5 classes; use 0 to 4",
        ),
        ([0, -1, 0, 0, 0], ValueError, r"target: class index -1 of image 1 is negative; .* start at 0"),
        (
            [0.0, 1.0, 0.0, 0.0, 0.0],
            TypeError,
            r"target: got 0\.0 for image 0; give one whole number per image",
        ),
        ([0, True, 0, 0, 0], TypeError, r"target: got True for image 1; give one whole number per image"),
        (["label"], TypeError, r"target: got \['label'\], a list of texts; give a name or a function"),
        (torch.rand(5), TypeError, r"target: got 0\.\d+ for image 0; give one whole number per image"),
        (torch.ones(5).bool(), TypeError, r"target: got True for image 0; give one whole number per image"),
        (
            torch.zeros(5, 5).long(),
            ValueError,
            r"target: got an int64 tensor \(5, 5\); give one whole number",
        ),
        (torch.tensor(3), ValueError, r"target: got an int64 tensor \(\); give one whole number per image"),
        ([], ValueError, r"target: got no classes; give one whole number per image"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_classes_that_do_not_fit(target: Any, error: type[Exception], message: str) -> None:
    for max_batch in (None, 2):
        with pytest.raises(error, match=message):
            explain(network(), images(), target=target, max_batch=max_batch)
    with pytest.raises(error, match=message):
        deletion(network(), images(), torch.rand(5, 12, 12), target=target)


@pytest.mark.parametrize("measure", [partial(deletion, steps=4), average_drop])
def test_a_measure_takes_one_class_per_image(measure: Any) -> None:
    saliency = torch.rand(5, 12, 12, generator=torch.Generator().manual_seed(2))
    found = measure(network(), images(), saliency, target=CLASSES, max_batch=3)
    alone = [
        measure(network(), images()[i : i + 1], saliency[i : i + 1], target=number)
        for i, number in enumerate(CLASSES)
    ]
    assert_close(found, torch.cat(alone), rtol=1e-4, atol=1e-6, equal_nan=True)
    assert not torch.allclose(found, measure(network(), images(), saliency, target=0), equal_nan=True)


# ---- ExplainConfig


def test_one_class_per_image_becomes_plain() -> None:
    config = ExplainConfig(target=torch.tensor([3, 0]))
    assert config.target == (3, 0)
    assert config == ExplainConfig(target=[3, 0])
    assert config.target_of(slice(1, 2)) == (0,)
    assert config.target_name == "one class per image"
    assert not config.finds_confusions
    for other in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):  # noqa: S301 - our own bytes
        assert other == config


def test_other_targets_are_the_same_for_all_images() -> None:
    for target in ("label", 3, TARGETS["finer"]):
        assert ExplainConfig(target=target).target_of(slice(1, 2)) is target


def test_descriptions_differ_where_looks_cannot_be_compared() -> None:
    configs = [
        ExplainConfig(),
        ExplainConfig("layercam"),
        ExplainConfig(target=1),
        ExplainConfig(target=[1, 2]),
        ExplainConfig(target=[2, 1]),
        ExplainConfig(target_layer="body"),
        ExplainConfig(target_layer=["body", "head"]),
    ]
    assert len({config.description for config in configs}) == len(configs)
    assert configs[0].description == "gradcam at the last layer, target predicted"
    assert configs[-1].description == "gradcam at body + head, target predicted"


def test_names() -> None:
    assert readable_name(METHODS["gradcam"]) == "gradcam"
    assert readable_name(partial(METHODS["scorecam"], top_k=8)) == "scorecam(top_k=8)"
    assert readable_name(few_passes) == "few_passes"
    assert method_row(partial(METHODS["scorecam"], top_k=8)) is METHODS["scorecam"]


def test_a_config_answers_as_explain_does() -> None:
    config = ExplainConfig("gradcam", CLASSES, model=ModelConfig(max_batch=2))
    model = network().eval()
    (found,) = answer(config, model, images(), None, find_layers(config, model, images())).values()
    assert_close(found.cams, explain(model, images(), target=CLASSES).cams, rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="target: got 5 classes for 4 images"):
        answer(config, model, images(4), None, find_layers(config, model, images(4)))


# ---- ModelConfig


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"network": 3}, TypeError, r"network: got 3; give the name of a submodule, a function .* or None"),
        ({"network": ""}, ValueError, r"network: got an empty name; give the name of a submodule"),
        ({"network": nn.ReLU()}, TypeError, r"network: got a ReLU; give the name of a submodule, a function"),
        ({"scores": 1.5}, TypeError, r"scores: got 1\.5; give a key, an index, a function, or None"),
        ({"max_batch": 0}, ValueError, r"max_batch: got 0; give at least 1, or None"),
        ({"max_batch": True}, TypeError, r"max_batch: got True; give a whole number, or None"),
        ({"max_batch": 2.0}, TypeError, r"max_batch: got 2\.0; give a whole number, or None"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_model_config_is_checked(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ModelConfig(**arguments)
    with pytest.raises(error, match=message):
        explain(network(), images(), **arguments)
    with pytest.raises(error, match=message):
        deletion(network(), images(), torch.rand(5, 12, 12), **arguments)


def test_a_model_config_is_a_value() -> None:
    assert ModelConfig("encoder", "logits", 3) == ModelConfig(network="encoder", scores="logits", max_batch=3)
    assert pickle.loads(pickle.dumps(ModelConfig("encoder"))) == ModelConfig("encoder")  # noqa: S301


@pytest.mark.usefixtures("unchecked")
def test_the_model_of_a_config_is_a_model_config() -> None:
    with pytest.raises(TypeError, match=r"model: got Sequential; give a ModelConfig"):
        ExplainConfig(model=network())
