"""The target layer and its map, by the defaults alone: models of Hugging Face from a configuration."""

import pytest
import torch
from support.maps import awake, explained, in_raster_order

transformers = pytest.importorskip("transformers", reason="needs transformers: pip install -e '.[test]'")
pytestmark = pytest.mark.filterwarnings("ignore:target_layer. .* gives maps of only")

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
