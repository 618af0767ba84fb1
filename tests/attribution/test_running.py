"""What is run of a model: the model, a submodule by its name, or a function."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_cam import Probe, find_shortcuts
from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.running import check_runnable, check_still, like, runner, takes_index, watched
from lightning_cam.explainer import explain
from lightning_cam.metrics import deletion, road


class Encoder(nn.Module):
    """A small classifier."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(6, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images).mean(dim=(2, 3)))


class Whole(nn.Module):
    """A classifier inside a model that cannot be called with images."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv1d(2, 2, 1)  # another kind of input, first in order
        self.encoder = Encoder()
        self.later = nn.LazyLinear(2)
        self.blocks = nn.ModuleDict({"first": nn.ReLU()})

    def forward(self, text: str) -> Tensor:
        raise AssertionError("the whole model must not run")


def whole() -> Whole:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Whole()


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 10, 10, generator=torch.Generator().manual_seed(0))


def call_encoder(model: Any, images: Tensor) -> Tensor:
    """Has an import path."""
    return model.encoder(images)


def test_a_submodule_is_run_alone() -> None:
    model = whole()
    found = explain(model, images(), network="encoder", method=["gradcam", "scorecam"], target=1)
    expected = explain(model.encoder, images(), method=["gradcam", "scorecam"], target=1)
    for name in found:
        assert_close(found[name].cams, expected[name].cams, rtol=0, atol=0)
    assert found["gradcam"].target_layer == "encoder.body"
    assert expected["gradcam"].target_layer == "body"


def test_layers_are_named_in_the_whole_model() -> None:
    found = explain(whole(), images(), network="encoder", target_layer="encoder.body.0")
    assert found.target_layer == "encoder.body.0"
    with pytest.raises(
        ValueError, match=r"target_layer: no layer 'body' in Whole; did you mean 'encoder\.body'"
    ):
        explain(whole(), images(), network="encoder", target_layer="body")
    with pytest.raises(ValueError, match=r"target_layer: the forward never reaches 'before'"):
        explain(whole(), images(), network="encoder", target_layer="before")


def test_a_function_and_a_name_are_the_same() -> None:
    found = explain(whole(), images(), network="encoder", target=2)
    # The whole model's first convolution takes signals, so only the name tells what the images are.
    model = whole()
    model.before = None
    model.later = None
    by_function = explain(model, images(), network=call_encoder, target=2)
    assert_close(found.cams, by_function.cams, rtol=0, atol=0)
    by_path = explain(model, images(), network=f"{__name__}.call_encoder", target=2)
    assert_close(found.cams, by_path.cams, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["encoder", "encoder._orig_mod", "_orig_mod.encoder"])
def test_a_compiled_submodule_with_or_without_orig_mod(name: str) -> None:
    model = whole()
    expected = explain(model, images(), network="encoder", target=1)
    model.encoder = torch.compile(model.encoder, backend="eager")
    found = explain(model, images(), network=name, target=1)
    assert_close(found.cams, expected.cams, rtol=0, atol=0)
    assert found.target_layer == "encoder.body"


def test_measures_and_shortcut_tests_run_it_too() -> None:
    model, saliency = whole(), torch.rand(3, 10, 10)
    for measure in (deletion, road):
        expected = measure(model.encoder, images(), saliency, target=1)
        assert_close(measure(model, images(), saliency, target=1, network="encoder"), expected)
    with torch.no_grad():
        labels = model.encoder(images(20)).argmax(dim=1)
    if len(labels.unique()) == 1:
        labels = torch.arange(20) % 2
    probe = Probe(images(20), labels)
    found = find_shortcuts(model, probe, network="encoder")
    assert found.hosts == find_shortcuts(model.encoder, probe).hosts


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("encodr", r"network: no submodule 'encodr' in Whole; did you mean 'encoder'\?"),
        ("body", r"network: no submodule 'body' in Whole; did you mean 'encoder\.body'\?"),
        ("xyz", r"network: no submodule 'xyz' in Whole; its children are before, encoder, later, blocks"),
        ("no.such.function", r"network: no submodule 'no\.such\.function' in Whole; "),
        (
            "blocks",
            r"network: 'blocks' is a ModuleDict.*, which has no forward; name a submodule that has one",
        ),
    ],
)
def test_names_that_cannot_be_run(name: str, message: str) -> None:
    for run in (
        lambda: explain(whole(), images(), network=name),
        lambda: deletion(whole(), images(), torch.rand(3, 10, 10), network=name),
        lambda: find_shortcuts(whole(), Probe(images(), torch.tensor([0, 1, 0])), network=name),
    ):
        with pytest.raises(ValueError, match=message):
            run()


def test_the_remedies_for_a_model_without_forward_work() -> None:
    model = nn.Module()
    model.net = Encoder()
    message = (
        r"network: Module has no forward; define one .* network='net', .* "
        r"network=lambda module, images: module\.net\(images\)"
    )
    with pytest.raises(ValueError, match=message):
        explain(model, images())
    expected = explain(model.net, images()).cams
    for network in ("net", lambda module, images: module.net(images)):
        assert_close(explain(model, images(), network=network).cams, expected, rtol=0, atol=0)


def test_a_forward_on_the_instance_will_do() -> None:
    model = nn.Module()
    model.net = Encoder()
    model.forward = model.net.forward
    check_runnable(model, ModelConfig())


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_module() -> None:
    with pytest.raises(TypeError, match=r"model: got a function; give a torch\.nn\.Module"):
        explain(call_encoder, images())


def test_the_dtype_is_that_of_what_is_watched() -> None:
    model = whole()
    model.encoder.double()
    assert like(images(), watched(model, ModelConfig("encoder"))).dtype == torch.float64
    assert like(images(), watched(model, ModelConfig())).dtype == torch.float32
    assert explain(model, images(), network="encoder").images.dtype == torch.float64
    assert like(images(), nn.ReLU()).dtype == torch.float32


def test_a_function_that_takes_an_index() -> None:
    assert takes_index(lambda model, images, index: None)
    assert not takes_index(lambda model, images, scale=1: None)
    assert not takes_index(runner(whole(), "encoder"))
    assert not takes_index(runner(whole(), None))


def test_clips_for_a_network_of_single_images_are_refused_with_the_way_out() -> None:
    clips, flat, solid = torch.rand(2, 4, 3, 16, 16), nn.Sequential(nn.Conv2d(3, 2, 1)), nn.Conv3d(4, 2, 1)
    words = (
        r"images: got a float32 tensor \(2, 4, 3, 16, 16\), clips or volumes, .* module\(frames\[:, None\]\)"
    )
    with pytest.raises(ValueError, match=words):
        check_still(flat, clips)
    check_still(flat, clips[:, 0])
    check_still(solid, clips)
    check_still(nn.Linear(2, 2), clips)
