"""Kinds 58 to 60: what the network is made of."""

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from support.read_case import Setup, case, paired, plain
from support.read_data import validation
from support.read_modules import SmallNet, User, classified, trained_net
from support.read_tokens import Patches

# --- what the network is made of


class LowRank(nn.Module):
    """A linear layer that stays, and a learnt change of rank 2 beside it."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down, self.up = (
            nn.Linear(layer.in_features, 2, bias=False),
            nn.Linear(2, layer.out_features, bias=False),
        )
        nn.init.zeros_(self.up.weight)

    def forward(self, values: Tensor) -> Tensor:
        return self.layer(values) + self.up(self.down(values))


def with_low_rank(net: nn.Module) -> nn.Module:
    for block in net.blocks:
        block.qkv, block.proj = LowRank(block.qkv), LowRank(block.proj)
    return net


@case(58, share=None, own=0.0, grid=(8, 8))
def low_rank_changes() -> Setup:
    return plain(User(with_low_rank(Patches())))


@case(58, share=None, own=0.0, grid=(8, 8), needs=("peft", "timm"))
def low_rank_changes_of_a_package() -> Setup:
    import timm
    from peft import LoraConfig, get_peft_model

    shape = {"img_size": 32, "patch_size": 4, "depth": 2, "embed_dim": 48, "num_heads": 3}
    net = timm.create_model("vit_tiny_patch16_224", num_classes=4, **shape)
    return plain(User(get_peft_model(net, LoraConfig(target_modules=["qkv"], modules_to_save=["head"], r=4))))


@case(59)
def data_parallel_and_spectral_norm() -> Setup:
    def make() -> User:
        net = SmallNet()
        net.features[4] = spectral_norm(net.features[4])
        return User(nn.DataParallel(net))

    return paired(make, lambda known: known.labels, kind="spectral norm")


class Quantized(User):
    """Validates with a head of eight bits, through which no gradient goes."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch will move it to another package
            whole = copy.deepcopy(net).eval()
            self.small = torch.ao.quantization.quantize_dynamic(whole, {nn.Linear}, dtype=torch.qint8)

    def forward(self, images):
        return self.small(images)

    def training_step(self, batch, batch_idx=0):
        return classified(self.net(batch[0]), batch[1]).loss


def the_float_network() -> Setup:
    held = validation()
    return plain(
        Quantized(trained_net()), own=lambda module: classified(module.net(held.images), held.labels)
    )


@case(60, says=(r"quantized",), never="eigencam", network=None, remedied=the_float_network,
      remedy=lambda told: {"network": "net"})  # fmt: skip
def quantized_head() -> Setup:
    return plain(Quantized(trained_net()))
