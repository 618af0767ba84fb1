"""The target layer and its map, by the defaults alone: every classifier of torchvision, families of timm, models of Hugging Face.

The expected layers were worked out from the libraries' sources, never by running the rule. What the comments say of a family is
what its forward does last with something that still has places.
"""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from test_layers import EXPECTED, TRANSFORMERS, classifiers
from torch import Tensor, nn

from lightning_cam import explain
from lightning_cam.attribution.layout import first_tensor, layout

Grid = tuple[int, int]

pytestmark = pytest.mark.filterwarnings("ignore:target_layer. .* gives maps of only")

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
TIMM_SAMPLE = [
    ("test_vit", {}, 160, "blocks.5.norm1", (10, 10)),  # class token
    ("test_vit3", {}, 160, "norm", (10, 10)),  # pooled by attention, after the norm
    (
        "deit_tiny_distilled_patch16_224",
        {"img_size": 64, "depth": 3},
        64,
        "blocks.2.norm1",
        (4, 4),
    ),  # two class tokens
    (
        "vit_small_patch14_reg4_dinov2",
        {"img_size": 56, "depth": 3},
        56,
        "blocks.2.norm1",
        (4, 4),
    ),  # class token, registers
    (
        "eva02_tiny_patch14_224",
        {"img_size": 56, "depth": 3},
        56,
        "blocks.2",
        (4, 4),
    ),  # mean of the patches, norm after it
    (
        "cait_xxs24_224",
        {"img_size": 64, "depth": 3},
        64,
        "blocks_token_only.1.norm1",
        (4, 4),
    ),  # class attention
    (
        "vit_tiny_r_s16_p8_224",
        {"img_size": 96, "depth": 3},
        96,
        "blocks.2.norm1",
        (3, 3),
    ),  # convolutions, then tokens
    ("test_mambaout", {}, 160, "stages", (5, 5)),  # channels last
    ("pvt_v2_b0", {}, 96, "stages", (3, 3)),  # tokens within stages, maps between
    ("levit_128s", {}, 224, "stages", (4, 4)),  # tokens, halved without a convolution
]

TIMM = {
    # Class token alone: the norm before the last attention.
    "vit_tiny_patch16_224": ("blocks.11.norm1", (14, 14)),
    "vit_base_patch32_clip_224": ("blocks.11.norm1", (7, 7)),
    "vit_small_patch14_reg4_dinov2": ("blocks.11.norm1", (37, 37)),  # four registers
    "deit_tiny_patch16_224": ("blocks.11.norm1", (14, 14)),
    "deit_tiny_distilled_patch16_224": ("blocks.11.norm1", (14, 14)),  # two class tokens
    "deit3_small_patch16_224": ("blocks.11.norm1", (14, 14)),
    "vit_relpos_base_patch16_cls_224": ("blocks.11.norm1", (14, 14)),
    "vit_tiny_r_s16_p8_224": ("blocks.11.norm1", (7, 7)),  # a ResNet's stem before it
    "vit_small_r26_s32_224": ("blocks.11.norm1", (7, 7)),
    "vit_small_resnet26d_224": ("blocks.7.norm1", (7, 7)),
    "convit_tiny": ("blocks.11.norm1", (14, 14)),  # the class token joins before the last two blocks
    "tnt_s_patch16_224": ("blocks.11.norm_out", (14, 14)),  # the attention among patches, not within one
    "pit_ti_224": ("transformers.2.blocks.3.norm1", (7, 7)),
    "pit_ti_distilled_224": ("transformers.2.blocks.3.norm1", (7, 7)),
    "mvitv2_small_cls": ("stages.3.blocks.1.norm1", (7, 7)),
    "coat_lite_tiny": ("serial_blocks4.1.norm1", (7, 7)),
    "coat_tiny": (
        "parallel_blocks.5.norm14",
        (7, 7),
    ),  # norms of three scales, all before their attentions; this runs last
    # Class attention: its norm takes class token and patches.
    "cait_xxs24_224": ("blocks_token_only.1.norm1", (14, 14)),
    "xcit_nano_12_p16_224": ("cls_attn_blocks.1.norm1", (14, 14)),
    "crossvit_tiny_240": (
        "blocks.2.fusion.1.norm1",
        (20, 20),
    ),  # the other branch's class token with the fine branch's patches
    # A class token, and the best of the patches' own scores.
    "volo_d1_224": ("norm", (14, 14)),
    # Mean of the patches, or attention over them, after a norm of all.
    "test_vit3": ("norm", (10, 10)),
    "vit_base_patch16_siglip_224": ("norm", (14, 14)),
    "vit_srelpos_small_patch16_224": ("norm", (14, 14)),
    "vit_relpos_small_patch16_rpn_224": ("norm", (14, 14)),
    "vit_tiny_patch16_dinov3_qkvb": ("norm", (16, 16)),  # class token and registers are pooled too
    "naflexvit_so150m2_patch16_reg1_map": ("norm", (24, 24)),
    "gmlp_ti16_224": ("norm", (14, 14)),
    "gmixer_12_224": ("norm", (14, 14)),
    "mixer_s16_224": ("norm", (14, 14)),
    "mvitv2_tiny": ("norm", (7, 7)),
    "twins_svt_small": ("norm", (7, 7)),
    "twins_pcpvt_small": ("norm", (7, 7)),
    "efficientformer_l1": ("norm", (7, 7)),
    # Mean of the patches, and the norm comes after it: the last block.
    "test_vit2": ("blocks", (10, 10)),
    "test_vit_relpos": ("blocks.8", (10, 10)),
    "vitamin_small_224": ("blocks", (14, 14)),
    "beit_base_patch16_224": ("blocks.11", (14, 14)),
    "beitv2_base_patch16_224": ("blocks.11", (14, 14)),
    "eva02_tiny_patch14_224": ("blocks.11", (16, 16)),
    "vit_base_patch16_rope_reg1_gap_256": ("blocks.11", (16, 16)),
    "hiera_tiny_224": (
        "blocks.11",
        (7, 7),
    ),  # in units of masks, which is raster order again after the last pooling
    "levit_128s": ("stages", (4, 4)),
    "resmlp_12_224": ("blocks", (14, 14)),  # its norm is an affine map
    # Channels last.
    "swin_tiny_patch4_window7_224": ("norm", (7, 7)),
    "swin_s3_tiny_224": ("norm", (7, 7)),
    "swinv2_tiny_window8_256": ("norm", (8, 8)),
    "nest_tiny": ("norm", (14, 14)),
    "sequencer2d_s": ("norm", (16, 16)),
    "hieradet_small": ("blocks.15", (8, 8)),
    "test_mambaout": ("stages", (5, 5)),
    # Attention within stages, which yield maps (n, k, h, w).
    "swinv2_cr_tiny_224": ("stages", (7, 7)),
    "pvt_v2_b0": ("stages", (7, 7)),
    "gcvit_xxtiny": ("stages", (7, 7)),
    "davit_tiny": ("stages", (7, 7)),
    "tiny_vit_5m_224": ("stages", (7, 7)),
    "caformer_s18": ("stages", (7, 7)),
    "poolformer_s12": ("stages", (7, 7)),
    "poolformerv2_s12": ("stages", (7, 7)),
    "edgenext_xx_small": ("stages", (8, 8)),
    "csatv2": ("stages", (8, 8)),
    "iformer_t": ("stages", (7, 7)),
    "efficientvit_m0": ("stages", (4, 4)),
    "shvit_s1": ("stages", (4, 4)),
    "repvit_m0_9": ("stages", (7, 7)),
    "mobilevitv2_050": ("stages", (8, 8)),
    "eca_botnext26ts_256": ("stages", (8, 8)),
    "halonet_h1": ("stages", (8, 8)),
    "lambda_resnet26t": ("stages", (8, 8)),
    "levit_conv_128s": ("stages", (4, 4)),
    "mobilevit_xxs": ("final_conv", (8, 8)),
    "fastvit_t8": ("final_conv", (8, 8)),
    "efficientvit_b0": ("head.in_conv", (7, 7)),
    "cpubone_nano": ("head.in_conv", (7, 7)),
    "lowformer_b0": ("in_conv", (7, 7)),
    "samvit_base_patch16_224": ("neck", (14, 14)),
    "test_coatnet": ("norm", (5, 5)),
    "test_maxvit": ("norm", (5, 5)),
    "focalnet_tiny_srf": ("norm", (7, 7)),
    "visformer_tiny": ("norm", (7, 7)),
    "nextvit_small": ("norm", (7, 7)),
    "swiftformer_xs": ("norm", (7, 7)),
    "efficientformerv2_s0": ("norm", (7, 7)),
    "efficientvim_m1": ("norm.3", (4, 4)),  # scores are a sum over stages; this is the last
    "mobilenetv4_hybrid_medium": ("blocks", (8, 8)),
}
# As they come, their last maps are the same for every image: batch norms that have seen nothing, attention that prefers nothing.
DULL = ("levit", "tiny_vit", "visformer", "cpubone")
TIMM_CONVOLUTIONS = {
    "test_convnext": ("stages", (5, 5)),
    "inception_next_atto": ("stages", (7, 7)),
    "convmixer_768_32": ("blocks", (32, 32)),
    "rdnet_tiny": ("dense_stages", (7, 7)),
    "starnet_s050": ("norm", (7, 7)),
    "test_byobnet": ("stages", (5, 5)),
    "test_efficientnet": ("bn2", (5, 5)),
    "test_nfnet": ("final_act", (5, 5)),
    "nf_regnet_b0": ("final_act", (6, 6)),
    "test_resnet": ("layer4", (5, 5)),
    "res2next50": ("layer4", (7, 7)),
    "resnest14d": ("layer4", (7, 7)),
    "skresnet18": ("layer4", (7, 7)),
    "legacy_seresnet18": ("layer4", (7, 7)),
    "resnetv2_18": ("norm", (7, 7)),
    "regnetx_002": ("s4", (7, 7)),
    "mobilenetv3_small_050": ("blocks", (7, 7)),
    "mobilenetv4_conv_small_035": ("blocks", (7, 7)),
    "ghostnet_050": ("blocks", (7, 7)),
    "repghostnet_050": ("blocks", (7, 7)),
    "hardcorenas_b": ("blocks", (7, 7)),
    "hrnet_w18_small": ("final_layer", (7, 7)),
    "dla46x_c": ("level5", (7, 7)),
    "dpn48b": ("features", (7, 7)),
    "densenet121": ("features", (7, 7)),
    "ese_vovnet19b_slim_dw": ("stages", (7, 7)),
    "cs3darknet_s": ("stages", (8, 8)),
    "cspnext_tiny": ("stages", (7, 7)),
    "hgnetv2_b0": ("stages", (7, 7)),
    "lcnetv2_small": ("stages", (7, 7)),
    "fasternet_t0": ("stages", (7, 7)),
    "rexnet_100": ("features", (7, 7)),
    "selecsls42": ("head", (4, 4)),
    "tresnet_m": ("body", (7, 7)),
    "xception41p": ("act", (10, 10)),
    "legacy_xception": ("act4", (10, 10)),
    "inception_v3": ("Mixed_7c", (8, 8)),
    "inception_v4": ("features", (8, 8)),
    "inception_resnet_v2": ("conv2d_7b", (8, 8)),
    "pnasnet5large": ("act", (11, 11)),
    "vgg11": ("features.19", (14, 14)),  # what follows is a convolution over the whole map
}


def awake(model: nn.Module, images: Tensor) -> nn.Module:
    """The model as after a little training: no weight is zero (as in torchvision's ViT the head is, and its gradient with it), and
    batch norms know their inputs, without which a deep network's signal dies away."""
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
        norms = [
            module for module in model.eval().modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
        ]
        for norm in norms:
            norm.momentum = None  # an average over what it sees
            norm.train()
        if norms:
            model(images)
    return model.eval()


def explained(model: nn.Module, side: int, layer: str, grid: Grid, count: int = 3) -> None:
    images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    explanation = explain(model, images)
    assert explanation.target_layer == layer
    assert explanation.cams.shape == (count, *grid)
    assert explanation.saliency.shape == (count, side, side)
    assert explanation.cams.isfinite().all()
    # Of random weights a map may be negative all over, and cut to zero; one of several images shows something.
    assert set(explanation.blank) <= {"", "nothing speaks for the class"}
    assert any(cam.amax() > cam.amin() for cam in explanation.cams)


def look_nearby(model: nn.Module) -> None:
    """LeViT's way down has no shortcut: with random weights its attention sees all places alike, so make it prefer what is near."""
    for module in model.modules():
        if hasattr(module, "attention_bias_idxs"):
            index = module.attention_bias_idxs  # (queries, keys), both in raster order
            queries, keys = (int(count**0.5) for count in index.shape)
            stride = -(-keys // queries)
            rows, columns = torch.meshgrid(torch.arange(keys), torch.arange(keys), indexing="ij")
            places = torch.stack([rows, columns], dim=-1)
            distance = (
                (places[::stride, ::stride].reshape(-1, 1, 2) - places.reshape(1, -1, 2)).abs().sum(dim=2)
            )
            with torch.no_grad():
                module.attention_biases[:, index] = -2.0 * distance
            module.attention_bias_cache.clear()


def in_raster_order(model: nn.Module, side: int, layer: str) -> None:
    """Changing the image in a corner cell changes the map most in that cell, or next to it: not flipped, transposed, scrambled.

    What changes everywhere, whichever cell it was, is taken off.
    """
    generator = torch.Generator().manual_seed(0)
    seen: list[Tensor] = []

    def see(module: nn.Module, args: Any, output: Any) -> None:
        output = first_tensor(output)
        seen.append(layout(module, tuple(output.shape), (side, side)).to_map(output))

    handle = model.get_submodule(layer).register_forward_hook(see)
    with torch.no_grad():
        images = torch.randn(3, 3, side, side, generator=generator)
        model(images)
        h, w = seen[0].shape[2:]
        cells = [(0, 0), (0, w - 1), (h - 1, 0), (h - 1, w - 1)]
        for row, column in cells:
            cell = torch.zeros(side, side)
            cell[row * side // h : (row + 1) * side // h, column * side // w : (column + 1) * side // w] = 1
            model(images + 2 * cell * torch.randn(images.shape, generator=generator))
    handle.remove()
    changes = torch.stack([(changed - seen[0]).norm(dim=1).mean(dim=0) for changed in seen[1:]])
    shares = changes / changes.sum(dim=(1, 2), keepdim=True)
    for (row, column), share in zip(cells, shares - shares.mean(dim=0), strict=True):
        found = divmod(int(share.argmax()), w)
        assert max(abs(found[0] - row), abs(found[1] - column)) <= 1, (
            f"the cell {(row, column)} changes most at {found}"
        )


@pytest.fixture
def one_at_a_time() -> Iterator[None]:
    yield
    gc.collect()  # networks of gigabytes hold themselves in cycles


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


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


@pytest.mark.parametrize(
    ("name", "options", "side", "layer", "grid"), TIMM_SAMPLE, ids=lambda value: str(value)
)
def test_a_sample_of_timm(name: str, options: dict[str, Any], side: int, layer: str, grid: Grid) -> None:
    model = timm.create_model(name, pretrained=False, num_classes=100, **options)
    if name.startswith("levit"):
        look_nearby(model)
    awake(model, torch.randn(4, 3, side, side))
    explained(model, side, layer, grid)
    in_raster_order(model, side, layer)


@pytest.mark.full
@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("name", {**TIMM, **TIMM_CONVOLUTIONS})
def test_timm(name: str) -> None:
    layer, grid = {**TIMM, **TIMM_CONVOLUTIONS}[name]
    model = timm.create_model(name, pretrained=False, num_classes=100).eval()
    side = model.pretrained_cfg["input_size"][-1]
    dull = name.startswith(DULL)
    if name in TIMM and not dull:
        in_raster_order(model, side, layer)
    if dull:
        look_nearby(model)
    awake(model, torch.randn(4, 3, side, side))
    explained(model, side, layer, grid)
    if dull:
        in_raster_order(model, side, layer)


# Hugging Face, from a configuration, with random weights: sizes, the layer, the grid.
TINY = {"image_size": 64, "num_labels": 20}
VIT = {
    "image_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "patch_size": 8,
}
CNN = {**TINY, "depths": [1, 1, 1, 2], "hidden_sizes": [8, 16, 32, 64]}
SWIN = {
    **TINY,
    "embed_dim": 16,
    "depths": [1, 1, 2],
    "num_heads": [2, 2, 4],
    "window_size": 4,
    "patch_size": 4,
}
PYRAMID = {
    **TINY,
    "depths": [1, 1, 1, 2],
    "hidden_sizes": [8, 16, 24, 32],
    "num_attention_heads": [1, 2, 2, 4],
}
MOBILE = {
    **TINY,
    "hidden_sizes": [16, 24, 32],
    "neck_hidden_sizes": [8, 8, 16, 24, 32, 40, 64],
    "num_attention_heads": 2,
}
HUGGING_FACE = {
    # Class token alone: the norm before the last attention.
    "ViT": ({**VIT, "num_labels": 20}, "vit.layers.2.layernorm_before", (8, 8)),
    "DeiT": ({**VIT, "num_labels": 20}, "deit.layers.2.layernorm_before", (8, 8)),
    "ViTMSN": ({**VIT, "num_labels": 20}, "vit.layers.2.layernorm_before", (8, 8)),
    "Pvt": (PYRAMID, "pvt.encoder.block.3.1.layer_norm_1", (2, 2)),
    # Class token, and the mean of the patches after a norm of all.
    "Dinov2": ({**VIT, "num_labels": 20}, "dinov2.layernorm", (8, 8)),
    "Dinov2WithRegisters": ({**VIT, "num_labels": 20}, "dinov2_with_registers.layernorm", (8, 8)),
    # Mean of the patches after a norm of all; or before a norm, so the last block.
    "IJepa": ({**VIT, "num_labels": 20}, "ijepa.layernorm", (8, 8)),
    "Beit": ({**VIT, "num_labels": 20}, "beit.layers.2", (8, 8)),
    "Data2VecVision": ({**VIT, "num_labels": 20}, "data2vec_vision.encoder.layer.2", (8, 8)),
    "CLIP": ({"vision_config": VIT, "num_labels": 20}, "vision_model.encoder.layers.2", (8, 8)),
    "Siglip": ({"vision_config": VIT, "num_labels": 20}, "vision_model.post_layernorm", (8, 8)),
    "Swin": (SWIN, "swin.layernorm", (4, 4)),
    "Swinv2": (SWIN, "swinv2.layernorm", (4, 4)),
    "FocalNet": ({**TINY, "embed_dim": 8, "depths": [1, 1, 2]}, "focalnet.layernorm", (4, 4)),
    # Maps (n, k, h, w) at the end of each stage.
    "PvtV2": (PYRAMID, "pvt_v2.encoder.layers.3.layer_norm", (2, 2)),
    "Segformer": ({**PYRAMID, "decoder_hidden_size": 16}, "segformer.stages.3", (2, 2)),
    "PoolFormer": ({**TINY, "depths": [1, 1, 1, 2], "hidden_sizes": [8, 16, 24, 32]}, "norm", (2, 2)),
    "MobileViT": (MOBILE, "mobilevit.conv_1x1_exp", (2, 2)),
    "ConvNext": (CNN, "convnext.encoder.stages.3", (2, 2)),
    "ConvNextV2": (CNN, "convnextv2.encoder.stages.3", (2, 2)),
    "ResNet": ({**CNN, "embedding_size": 8, "layer_type": "basic"}, "resnet.encoder.stages.3", (2, 2)),
    "RegNet": ({**CNN, "embedding_size": 8, "groups_width": 8}, "regnet.encoder.stages.3", (2, 2)),
    "MobileNetV2": ({**TINY, "depth_multiplier": 0.35}, "mobilenet_v2.conv_1x1", (2, 2)),
}


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_hugging_face(name: str) -> None:
    sizes, layer, grid = HUGGING_FACE[name]
    model = getattr(transformers, f"{name}ForImageClassification")(
        getattr(transformers, f"{name}Config")(**sizes)
    )
    awake(model, torch.randn(4, 3, 64, 64))
    explained(model, 64, layer, grid)
    if min(grid) >= 4:  # on 2 x 2 every place is next to every other
        in_raster_order(model, 64, layer)


def test_hugging_face_levit() -> None:
    # Its last stage halves 8 x 8 twice, without a convolution.
    stages = {
        "hidden_sizes": [16, 24, 32],
        "num_attention_heads": [2, 2, 4],
        "key_dim": [8, 8, 8],
        "depths": [1, 1, 1],
    }
    model = transformers.LevitForImageClassification(
        transformers.LevitConfig(image_size=128, num_labels=20, **stages)
    )
    awake(model, torch.randn(4, 3, 128, 128))
    explained(model, 128, "levit.encoder.stages.2", (2, 2))


def test_latents_are_not_taken_for_places() -> None:
    # Sixteen latents read the pixels, a query reads the latents: what has places last is the pixels' norm.
    sizes = {
        "num_latents": 16,
        "d_latents": 32,
        "num_self_attends_per_block": 2,
        "num_self_attention_heads": 4,
        "image_size": 64,
    }
    config = transformers.PerceiverConfig(num_labels=20, num_cross_attention_heads=1, **sizes)
    model = transformers.PerceiverForImageClassificationLearned(config)
    explained(model, 64, "perceiver.encoder.cross_attention.attention.self.layernorm2", (64, 64))
