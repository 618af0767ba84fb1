"""Networks of libraries are sound: what tells images apart passes through the layer that is found, and its maps lie where
the image is. Class tokens pass by a layer by their nature, which is told as a fact."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from support.maps import awake, look_nearby
from torch import Tensor, nn

from lightning_cam.attribution.capture import find_layer
from lightning_cam.attribution.closeness import closeness, closeness_note
from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.place import place

CONFIG = ModelConfig(max_batch=16)
TORCHVISION_SAMPLE = [
    ("resnet18", 96, {}),
    ("mobilenet_v3_small", 128, {}),
    ("shufflenet_v2_x0_5", 128, {}),
    ("vit_b_32", 64, {"image_size": 64}),
]
TIMM_SAMPLE = [
    ("test_vit", 96, {"img_size": 96}),
    ("test_vit3", 96, {"img_size": 96}),
    ("test_resnet", 128, {}),
    ("test_convnext", 128, {}),
    ("test_efficientnet", 128, {}),
    ("test_mambaout", 128, {}),
]
# Forty families, at their own sizes.
TIMM = [
    *(
        "vit_tiny_patch16_224",
        "deit_tiny_distilled_patch16_224",
        "vit_relpos_small_patch16_rpn_224",
        "convit_tiny",
    ),
    *(
        "pit_ti_224",
        "coat_lite_tiny",
        "cait_xxs24_224",
        "xcit_nano_12_p16_224",
        "mvitv2_tiny",
        "twins_svt_small",
    ),
    *("gmlp_ti16_224", "mixer_s16_224", "efficientformer_l1", "eva02_tiny_patch14_224", "hiera_tiny_224"),
    *(
        "levit_128s",
        "resmlp_12_224",
        "swin_tiny_patch4_window7_224",
        "nest_tiny",
        "pvt_v2_b0",
        "gcvit_xxtiny",
    ),
    *(
        "davit_tiny",
        "tiny_vit_5m_224",
        "poolformer_s12",
        "edgenext_xx_small",
        "efficientvit_b0",
        "repvit_m0_9",
    ),
    *(
        "mobilevit_xxs",
        "fastvit_t8",
        "test_coatnet",
        "test_maxvit",
        "focalnet_tiny_srf",
        "mobilenetv4_conv_small_035",
    ),
    *(
        "ghostnet_050",
        "regnetx_002",
        "resnetv2_18",
        "hgnetv2_b0",
        "starnet_s050",
        "convmixer_768_32",
        "test_nfnet",
    ),
]
DULL = ("levit", "tiny_vit")  # with random weights their attention sees all places alike


def side_of(name: str) -> tuple[int, dict[str, Any]]:
    """A small image that the network takes, and how it is told."""
    if name.startswith("vit_"):
        side = 112 if name == "vit_h_14" else 128
        return side, {"image_size": side}
    if name.startswith("maxvit"):
        return 224, {}
    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return 192 if name == "inception_v3" else 128, options


def assert_sound(model: nn.Module, side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(4, 3, side // 8, side // 8, generator=generator)
    images: Tensor = F.interpolate(coarse, size=side) + 0.5 * torch.randn(
        4, 3, side, side, generator=generator
    )
    awake(model, images)
    layers = [find_layer(model, images)]
    found = closeness(model, images, layers, CONFIG)
    if found is None or not found.beside_tokens:
        assert found is None or found.value >= 0.9995
        assert closeness_note(model, images, layers, CONFIG).sentence == ""
    elif not found.is_close:
        assert "class token" in closeness_note(model, images, layers, CONFIG).sentence
    assert place(model, images, layers, CONFIG).sentence == ""


@pytest.mark.parametrize(("name", "side", "options"), TORCHVISION_SAMPLE, ids=lambda value: str(value))
def test_a_sample_of_torchvision(name: str, side: int, options: dict[str, Any]) -> None:
    assert_sound(torchvision.models.get_model(name, weights=None, num_classes=20, **options), side)


@pytest.mark.parametrize(("name", "side", "options"), TIMM_SAMPLE, ids=lambda value: str(value))
def test_a_sample_of_timm(name: str, side: int, options: dict[str, Any]) -> None:
    timm = pytest.importorskip("timm", reason="needs timm: pip install -e '.[test]'")
    assert_sound(timm.create_model(name, pretrained=False, num_classes=20, **options), side)


@pytest.mark.full
@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_torchvision(name: str) -> None:
    side, options = side_of(name)
    assert_sound(torchvision.models.get_model(name, weights=None, num_classes=20, **options), side)


def test_forty_families() -> None:
    assert len(set(TIMM)) == 40


@pytest.mark.full
@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str) -> None:
    timm = pytest.importorskip("timm", reason="needs timm: pip install -e '.[test]'")
    model = timm.create_model(name, pretrained=False, num_classes=20).eval()
    if name.startswith(DULL):
        look_nearby(model)
    assert_sound(model, model.pretrained_cfg["input_size"][-1])
