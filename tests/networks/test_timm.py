"""The target layer and its map, by the defaults alone: families of timm."""

from typing import Any

import pytest
import torch
from support.maps import Grid, awake, explained, in_raster_order, look_nearby

timm = pytest.importorskip("timm", reason="needs timm: pip install -e '.[test]'")
pytestmark = pytest.mark.filterwarnings("ignore:target_layer. .* gives maps of only")
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
