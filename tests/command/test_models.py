"""Classifiers by name."""

import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from lightning_cam.command.models import named_model

PHOTO = Image.linear_gradient("L").resize((300, 260)).convert("RGB")


def saved(make: Callable[[], nn.Module], path: Path) -> nn.Module:
    """A model of ours, and its weights in a file."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make()
    torch.save(model.state_dict(), path)
    return model.eval()


@pytest.mark.parametrize("name", ["vit_b_32", "convnext_tiny", "googlenet", "regnet_y_400mf"])
def test_torchvisions_classifiers_answer_as_built_by_hand(name: str, tmp_path: Path) -> None:
    own = saved(lambda: torchvision.models.get_model(name, num_classes=3), tmp_path / "own.pth")
    found = named_model(name, tmp_path / "own.pth")
    weights = torchvision.models.get_model_weights(name).DEFAULT
    image = weights.transforms()(PHOTO)[None]
    torch.testing.assert_close(found.transform(PHOTO)[None], image, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(found.network(image), own(image))
    assert found.names(3) == ("class 0", "class 1", "class 2")
    assert found.names(1000) == tuple(weights.meta["categories"])
    assert found.normalization == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert str(tmp_path / "own.pth") in found.origin


@pytest.mark.needs("timm")
@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "resnet18", "vit_tiny_patch16_224", "resnet18.a1_in1k"]
)
def test_timms_classifiers_answer_as_built_by_hand(name: str, tmp_path: Path) -> None:
    import timm

    own = saved(lambda: timm.create_model(name, num_classes=5), tmp_path / "own.pth")
    found = named_model(f"timm:{name}", tmp_path / "own.pth")
    how = timm.data.resolve_model_data_config(own)
    image = timm.data.create_transform(**how, is_training=False)(PHOTO)[None]
    torch.testing.assert_close(found.transform(PHOTO)[None], image, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(found.network(image), own(image))
    assert found.normalization == (how["mean"], how["std"])
    assert found.names(1000)[281] == "tabby"
    assert found.names(5)[4] == "class 4"
    assert found.frame == (int(224 / how["crop_pct"]), 224)


@pytest.mark.needs("timm")
def test_names_that_timm_has_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--model: timm has no model 'resnet81'; did you mean .*resnet18"):
        named_model("timm:resnet81")


def test_names_that_torchvision_has_not() -> None:
    with pytest.raises(
        ValueError, match=r"--model: torchvision has no classifier 'resnet5'; did you mean resnet50, "
    ):
        named_model("resnet5")
    with pytest.raises(ValueError, match=r"no classifier 'zzz'; there are alexnet, .*wide_resnet50_2\."):
        named_model("zzz")


def test_timm_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match="--model: timm:resnet18 needs the package timm; run: pip install timm"
    ):
        named_model("timm:resnet18")


def test_class_names_of_a_file(tmp_path: Path) -> None:
    saved(lambda: torchvision.models.get_model("squeezenet1_1", num_classes=2), tmp_path / "own.pth")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    found = named_model("squeezenet1_1", tmp_path / "own.pth")
    assert found.names(2, tmp_path / "names.txt") == ("cat", "dog")
    with pytest.raises(
        ValueError, match=r"names.txt has 2 lines for the model's 8 classes; give one name per"
    ):
        found.names(8, tmp_path / "names.txt")


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    saved(lambda: torchvision.models.get_model("squeezenet1_1", num_classes=2), tmp_path / "own.pth")
    with pytest.raises(ValueError, match="--device: 'abacus' cannot be used"):
        named_model("squeezenet1_1", tmp_path / "own.pth", device="abacus")


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("unreachable"), TimeoutError("timed out"), RuntimeError("invalid hash value")],
)
def test_downloads_fail_in_several_ways(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", fails)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        ValueError, match=r"the weights of shufflenet_v2_x0_5 could not be downloaded"
    ) as refused:
        named_model("shufflenet_v2_x0_5")
    assert f"({error})" in str(refused.value)
    assert "pass the file with --checkpoint FILE" in str(refused.value)


@pytest.mark.needs("timm")
def test_timms_hub_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"the weights of timm:resnet18 could not be downloaded") as refused:
        named_model("timm:resnet18")
    assert "pass the file with --checkpoint FILE" in str(refused.value)
    assert "from https://huggingface.co/timm/resnet18" in str(refused.value)
