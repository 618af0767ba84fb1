"""The target layer and its map, by the defaults alone: every classifier of torchvision."""

import re
from collections.abc import Callable, Iterable
from functools import partial

import pytest
import torch
import torchvision
from support.layers import find, hooks, without_weights
from support.maps import Grid, awake, explained, in_raster_order
from torch import Tensor, nn

from lightning_cam.attribution.layout import Size
from lightning_cam.attribution.target_layer import TargetLayer, automatic_layer

pytestmark = pytest.mark.filterwarnings("ignore:target_layer. .* gives maps of only")

# Worked out by hand from torchvision's sources, as (layer, side of its maps): never by running the rule.
EXPECTED = {
    # features: ..., 10 Conv2d, 11 ReLU, 12 MaxPool2d; the pooling after the last ReLU halves the map.
    "alexnet": ("features.11", 13),
    # features: a stem, then stages and downsamplings in turn; the classifier's LayerNorm2d comes after the global pooling.
    "convnext_tiny": ("features", 7),
    "convnext_small": ("features", 7),
    "convnext_base": ("features", 7),
    "convnext_large": ("features", 7),
    # features ends with norm5; ReLU and pooling after it are functions.
    "densenet121": ("features", 7),
    "densenet161": ("features", 7),
    "densenet169": ("features", 7),
    "densenet201": ("features", 7),
    # features ends with a 1x1 convolution, norm and SiLU; the squeeze-excitations' convolutions yield one position.
    "efficientnet_b0": ("features", 7),
    "efficientnet_b1": ("features", 7),
    "efficientnet_b2": ("features", 7),
    "efficientnet_b3": ("features", 7),
    "efficientnet_b4": ("features", 7),
    "efficientnet_b5": ("features", 7),
    "efficientnet_b6": ("features", 7),
    "efficientnet_b7": ("features", 7),
    "efficientnet_v2_s": ("features", 7),
    "efficientnet_v2_m": ("features", 7),
    "efficientnet_v2_l": ("features", 7),
    # Blocks hang on the model itself; the auxiliary heads run in training only.
    "googlenet": ("inception5b", 7),
    "inception_v3": ("Mixed_7c", 8),
    # layers ends with a 1x1 convolution, norm and ReLU; pooling is a mean.
    "mnasnet0_5": ("layers", 7),
    "mnasnet0_75": ("layers", 7),
    "mnasnet1_0": ("layers", 7),
    "mnasnet1_3": ("layers", 7),
    "mobilenet_v2": ("features", 7),
    "mobilenet_v3_small": ("features", 7),
    "mobilenet_v3_large": ("features", 7),
    # trunk_output holds the four stages; stem, trunk_output, avgpool, fc.
    "regnet_x_400mf": ("trunk_output", 7),
    "regnet_x_800mf": ("trunk_output", 7),
    "regnet_x_1_6gf": ("trunk_output", 7),
    "regnet_x_3_2gf": ("trunk_output", 7),
    "regnet_x_8gf": ("trunk_output", 7),
    "regnet_x_16gf": ("trunk_output", 7),
    "regnet_x_32gf": ("trunk_output", 7),
    "regnet_y_400mf": ("trunk_output", 7),
    "regnet_y_800mf": ("trunk_output", 7),
    "regnet_y_1_6gf": ("trunk_output", 7),
    "regnet_y_3_2gf": ("trunk_output", 7),
    "regnet_y_8gf": ("trunk_output", 7),
    "regnet_y_16gf": ("trunk_output", 7),
    "regnet_y_32gf": ("trunk_output", 7),
    "regnet_y_128gf": ("trunk_output", 7),
    "resnet18": ("layer4", 7),
    "resnet34": ("layer4", 7),
    "resnet50": ("layer4", 7),
    "resnet101": ("layer4", 7),
    "resnet152": ("layer4", 7),
    "resnext50_32x4d": ("layer4", 7),
    "resnext101_32x8d": ("layer4", 7),
    "resnext101_64x4d": ("layer4", 7),
    "wide_resnet50_2": ("layer4", 7),
    "wide_resnet101_2": ("layer4", 7),
    # conv5 is convolution, norm, ReLU; pooling is a mean.
    "shufflenet_v2_x0_5": ("conv5", 7),
    "shufflenet_v2_x1_0": ("conv5", 7),
    "shufflenet_v2_x1_5": ("conv5", 7),
    "shufflenet_v2_x2_0": ("conv5", 7),
    # classifier: 0 Dropout, 1 Conv2d with one channel per class, 2 ReLU, 3 AdaptiveAvgPool2d.
    "squeezenet1_0": ("classifier.2", 13),
    "squeezenet1_1": ("classifier.2", 13),
    # Modules = 2 per convolution (3 with norm) + 5 poolings; the last is a pooling, the one before it the ReLU that is meant.
    "vgg11": ("features.19", 14),  # 8 convolutions
    "vgg13": ("features.23", 14),  # 10
    "vgg16": ("features.29", 14),  # 13
    "vgg19": ("features.35", 14),  # 16
    "vgg11_bn": ("features.27", 14),
    "vgg13_bn": ("features.33", 14),
    "vgg16_bn": ("features.42", 14),
    "vgg19_bn": ("features.51", 14),
}


TRANSFORMERS = ("vit_", "swin_", "maxvit")  # in tests/networks
NUMBERS = (
    "convnext",
)  # channels last within its blocks, so the network is asked, and the meta device has no answer
# Only wider or deeper than a sibling that runs every time.
LARGER = re.compile(
    r"densenet(161|169|201)|efficientnet_(b[2-7]|v2_[ml])|regnet_.*[0-9]gf|res.*(101|152).*|wide_resnet101_2"
)
SMALL_ON_CPU = {
    # At 64 px, where the deepest maps are small, but still maps.
    "mnasnet0_5": ("layers", 2),
    "mobilenet_v3_small": ("features", 2),
    "regnet_x_400mf": ("trunk_output", 2),
    "resnet18": ("layer4", 2),
    "shufflenet_v2_x0_5": ("conv5", 2),
    "squeezenet1_1": ("classifier.2", 3),
}


def cases(names: Iterable[str]) -> list:
    return [
        pytest.param(name, marks=pytest.mark.full) if LARGER.fullmatch(name) else pytest.param(name)
        for name in names
    ]


def classifiers() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models)


def on_meta(name: str) -> tuple[nn.Module, Callable[[], Tensor], Size]:
    model = without_weights(name)
    side = 299 if name == "inception_v3" else 224
    return model, partial(model, torch.empty(1, 3, side, side, device="meta")), (side, side)


def test_the_table_covers_torchvision() -> None:
    convolutional = {name for name in classifiers() if not name.startswith(TRANSFORMERS)}
    missing, gone = sorted(convolutional - set(EXPECTED)), sorted(set(EXPECTED) - convolutional)
    assert not missing, (
        f"torchvision has new classifiers: work out the target layer of {missing} and add them to EXPECTED"
    )
    assert not gone, f"torchvision no longer has {gone}: take them out of EXPECTED"


@pytest.mark.parametrize("name", cases(name for name in EXPECTED if not name.startswith(NUMBERS)))
def test_target_layer_of_torchvision(name: str) -> None:
    layer, side = EXPECTED[name]
    model, forward, size = on_meta(name)
    sizes = []
    seeing = model.get_submodule(layer).register_forward_hook(
        lambda module, args, output: sizes.append(output.shape[2:])
    )
    with torch.no_grad():
        found = automatic_layer(model, forward, size)
    assert found == TargetLayer(layer, layer, "")
    assert sizes == [(side, side)]
    seeing.remove()
    assert hooks(model) == 0


@pytest.mark.parametrize("name", SMALL_ON_CPU)
def test_target_layer_with_real_numbers(name: str) -> None:
    layer, side = SMALL_ON_CPU[name]
    model = torchvision.models.get_model(name, weights=None, num_classes=4)
    found = find(model, 64)
    assert (found.name, found.path) == (layer, layer)
    assert f"only {side} x {side}" in found.note


TORCHVISION = {
    **{name: (layer, (side, side)) for name, (layer, side) in EXPECTED.items()},
    # encoder: dropout, blocks, ln; the class token alone is classified, so patches matter up to the last attention's norm.
    "vit_b_16": ("encoder.layers.encoder_layer_11.ln_1", (14, 14)),
    "vit_b_32": ("encoder.layers.encoder_layer_11.ln_1", (7, 7)),
    "vit_l_16": ("encoder.layers.encoder_layer_23.ln_1", (14, 14)),
    "vit_l_32": ("encoder.layers.encoder_layer_23.ln_1", (7, 7)),
    "vit_h_14": ("encoder.layers.encoder_layer_31.ln_1", (16, 16)),
    # features, norm (channels last), permute, mean.
    "swin_t": ("norm", (7, 7)),
    "swin_s": ("norm", (7, 7)),
    "swin_b": ("norm", (7, 7)),
    "swin_v2_t": ("norm", (7, 7)),
    "swin_v2_s": ("norm", (7, 7)),
    "swin_v2_b": ("norm", (7, 7)),
    # blocks: convolutions, window attention, grid attention, back in (n, k, h, w); then classifier.0 pools.
    "maxvit_t": ("blocks.3", (7, 7)),
}

HUGE = ("vit_h_14", "regnet_y_128gf")  # 2.5 GB of weights, still within 8 GiB

# name, options, side of the image, layer, grid: small ones of each kind, for every run.
TORCHVISION_SAMPLE = [
    ("resnet18", 96, "layer4", (3, 3)),
    ("vgg11", 64, "features.19", (4, 4)),
    ("densenet121", 96, "features", (3, 3)),
    ("convnext_tiny", 96, "features", (3, 3)),
    ("efficientnet_b0", 96, "features", (3, 3)),
    ("squeezenet1_1", 96, "classifier.2", (5, 5)),
    ("googlenet", 96, "inception5b", (3, 3)),
    ("swin_t", 96, "norm", (3, 3)),
    ("swin_v2_t", 96, "norm", (3, 3)),
]


def test_the_table_is_all_of_torchvision() -> None:
    assert set(TORCHVISION) == set(classifiers())


@pytest.mark.full
@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str) -> None:
    layer, grid = TORCHVISION[name]
    side = 299 if name == "inception_v3" else 224
    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, **options)
    awake(model, torch.randn(2, 3, side, side))
    explained(model, side, layer, grid, count=1 if name in HUGE else 3)
    if name.startswith(TRANSFORMERS):
        in_raster_order(model, side, layer)


@pytest.mark.parametrize(("name", "side", "layer", "grid"), TORCHVISION_SAMPLE, ids=lambda value: str(value))
def test_a_sample_of_torchvision(name: str, side: int, layer: str, grid: Grid) -> None:
    options = {"init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, num_classes=20, **options)
    awake(model, torch.randn(2, 3, side, side))
    explained(model, side, layer, grid)
    if name.startswith(TRANSFORMERS):
        in_raster_order(model, side, layer)


def test_a_small_vit_of_torchvision() -> None:
    sizes = {
        "image_size": 64,
        "patch_size": 8,
        "num_layers": 3,
        "num_heads": 4,
        "hidden_dim": 64,
        "mlp_dim": 128,
    }
    model = awake(torchvision.models.VisionTransformer(**sizes, num_classes=20), torch.randn(2, 3, 64, 64))
    explained(model, 64, "encoder.layers.encoder_layer_2.ln_1", (8, 8))
    in_raster_order(model, 64, "encoder.layers.encoder_layer_2.ln_1")


def test_a_small_maxvit_of_torchvision() -> None:
    sizes = {
        "partition_size": 4,
        "stem_channels": 8,
        "block_channels": [8, 16],
        "block_layers": [1, 1],
        "head_dim": 4,
    }
    model = torchvision.models.MaxVit((64, 64), **sizes, stochastic_depth_prob=0.0, num_classes=20)
    awake(model, torch.randn(2, 3, 64, 64))
    explained(model, 64, "blocks.1", (8, 8))
    in_raster_order(model, 64, "blocks.1")
