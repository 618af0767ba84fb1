"""The target layer: of hand-made networks and transformers, refusals, notes, named layers, no trace."""

import re
from collections import OrderedDict

import pytest
import torch
import torchvision
from support.layers import Attention, Block, find, hooks
from support.odd_networks import Convolutions, closed
from torch import Tensor, nn

from lightning_cam import explain
from lightning_cam.attribution.capture import find_layer
from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.layout import Layout, Size, layout
from lightning_cam.attribution.target_layer import TargetLayer, dimensions, named_layer


def named(**modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def head(channels: int = 8, classes: int = 3) -> dict[str, nn.Module]:
    return {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(channels, classes)}


def candidates(message: str) -> list[str]:
    return re.findall(r"'([^']+)' \(\d+ x \d+\)", message.partition("Candidates:")[2])


def test_small_images_get_a_note_that_names_an_earlier_layer() -> None:
    # 32 px: layer4 has one position, so layer3 is the last with maps, 2 x 2; layer1 has 8 x 8.
    found = find(torchvision.models.resnet18(num_classes=10), 32)
    assert found.name == "layer3"
    assert found.note == (
        "target_layer: 'layer3' gives maps of only 2 x 2, which often miss the object; "
        "target_layer='layer1' with method='layercam' gives 8 x 8"
    )


def test_no_note_where_the_map_is_large_enough() -> None:
    assert find(named(conv=nn.Conv2d(3, 8, 3, padding=1), **head()), 7).note == ""


def test_a_note_without_an_earlier_layer() -> None:
    found = find(named(conv=nn.Conv2d(3, 8, 3, padding=1), **head()), 6)
    note = "target_layer: 'conv' gives maps of only 6 x 6, which often miss the object"
    assert found == TargetLayer("conv", "conv", note)


PASSED_OVER = {
    "identity": nn.Identity(),
    "dropout": nn.Dropout(),
    "dropout2d": nn.Dropout2d(),
    "alpha dropout": nn.AlphaDropout(),
    "feature alpha dropout": nn.FeatureAlphaDropout(),
    "pooling that keeps the size": nn.MaxPool2d(3, stride=1, padding=1),
    "average pooling that keeps the size": nn.AvgPool2d(3, stride=1, padding=1),
    "adaptive pooling to the same size": nn.AdaptiveAvgPool2d(16),
    "several": nn.Dropout2d(),
}


@pytest.mark.parametrize("module", PASSED_OVER.values(), ids=PASSED_OVER.keys())
def test_what_only_hands_on_is_passed_over(module: nn.Module) -> None:
    model = named(conv=nn.Conv2d(3, 8, 3, padding=1), act=nn.ReLU(), wrapper=module, **head())
    assert find(model).name == "act"


def test_a_norm_of_a_network_named_after_pooling_is_no_pooling() -> None:
    class PoolNetNorm(nn.GroupNorm):
        pass

    assert find(named(conv=nn.Conv2d(3, 8, 3, padding=1), norm=PoolNetNorm(1, 8), **head())).name == "norm"


def test_a_block_is_preferred_to_its_parts() -> None:
    block = named(
        conv=nn.Conv2d(3, 8, 3, padding=1), norm=nn.BatchNorm2d(8), act=nn.ReLU(), drop=nn.Dropout2d()
    )
    assert find(named(block=block, **head())).name == "block"


def test_convolutions_after_the_pooling_do_not_count() -> None:
    class Excited(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.squeeze, self.excite = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
            self.fc = nn.Conv2d(8, 5, 1)

        def forward(self, images: Tensor) -> Tensor:
            x = self.conv(images)
            x = x * self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
            return self.fc(x.mean((2, 3), keepdim=True)).flatten(1)

    assert find(Excited()).name == "conv"


def test_a_map_of_one_row_is_a_map() -> None:
    model = named(conv=nn.Conv2d(3, 8, (16, 3), padding=(0, 1)), **head())
    found = find(model)
    assert found.name == "conv"
    assert "1 x 16" in found.note


def test_a_model_inside_another() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torchvision.models.resnet18(num_classes=4)

        def forward(self, images: Tensor) -> Tensor:
            return self.net(images)

    assert find(Wrapped(), 128).name == "net.layer4"


@pytest.mark.parametrize("module", [nn.Conv1d(3, 4, 3, padding=1), nn.Identity()], ids=["conv1d", "mlp"])
def test_a_model_without_maps_is_refused(module: nn.Module) -> None:
    model = named(flatten=nn.Flatten(2), module=module, rest=nn.Flatten(), fc=nn.LazyLinear(3))
    model(torch.rand(1, 3, 16, 16))
    with pytest.raises(
        ValueError,
        match=r"no block or norm of Sequential was found that .* No module yields a map \(n, k, h, w\)",
    ):
        find(model)


def test_a_global_convolution_alone_is_refused() -> None:
    model = named(conv=nn.Conv2d(3, 8, 16), flatten=nn.Flatten(), fc=nn.Linear(8, 3))
    with pytest.raises(
        ValueError, match=r"no block or norm of Sequential was found .* No module yields a map \(n, k, h, w\)"
    ):
        find(model)


class Twice(nn.Module):
    """The commonest small network: one ReLU for all."""

    def __init__(self, shared: str) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.act, self.fc = nn.ReLU(), nn.Linear(8, 3)
        self.shared = shared

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images)
        x = self.conv2(self.act(x) if self.shared == "act" else x)
        x = self.act(x) if self.shared == "act" else self.conv2(x)
        return self.fc(x.mean((2, 3)))


def test_a_layer_that_runs_twice_is_refused_and_not_a_candidate() -> None:
    with pytest.raises(
        ValueError, match="the last convolution 'conv2' of Twice runs more than once in a forward"
    ) as refusal:
        find(Twice("conv2"))
    assert candidates(str(refusal.value)) == ["conv1"], "the candidates are there to be named"


def test_a_shared_activation_is_passed_over() -> None:
    assert find(Twice("act")).name == "conv2"


class AttentionPooling(nn.Module):
    """Features, weighed over places by a map of one channel."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.features = named(conv=nn.Conv2d(3, 8, 3, padding=1), act=nn.ReLU())
        self.att, self.fc = attention, nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        weights = self.att(features).flatten(2).softmax(dim=2)
        return self.fc((features.flatten(2) * weights).sum(dim=2))


ONE_CHANNEL = {
    "attention": (AttentionPooling(nn.Conv2d(8, 1, 1)), "features"),
    # What only makes the weights has several channels too, and comes later.
    "attention of two steps": (
        AttentionPooling(named(hidden=nn.Conv2d(8, 5, 1), act=nn.Tanh(), last=nn.Conv2d(5, 1, 1))),
        "features",
    ),
    # Nothing is beside the one channel: it is what the maps before it are summed up to.
    "a map of the score": (
        named(
            conv=nn.Conv2d(3, 8, 3, padding=1),
            act=nn.ReLU(),
            score=nn.Conv2d(8, 1, 1),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
        ),
        "act",
    ),
    # No map of several channels has its extent.
    "one channel alone": (
        named(
            conv=nn.Conv2d(3, 1, 3, padding=1),
            pool=nn.AdaptiveAvgPool2d(2),
            flatten=nn.Flatten(),
            fc=nn.Linear(4, 3),
        ),
        "conv",
    ),
}


@pytest.mark.parametrize(("model", "layer"), ONE_CHANNEL.values(), ids=ONE_CHANNEL)
def test_no_map_of_one_channel_where_another_has_the_same_extent(model: nn.Module, layer: str) -> None:
    found = find(model)
    assert (found.name, found.note) == (layer, "")
    assert hooks(model) == 0


def test_no_token_map_of_one_channel_where_another_has_the_same_extent() -> None:
    class Patches(AttentionPooling):
        def __init__(self) -> None:
            super().__init__(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 1)))
            self.features, self.block = nn.Conv2d(3, 8, 4, stride=4), Block()

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.block(self.features(images).flatten(2).mT)
            return self.fc((tokens * self.att(tokens).softmax(dim=1)).sum(dim=1))

    assert find(Patches(), 32).name == "block"


def test_a_map_of_one_channel_is_no_candidate_where_another_has_the_same_extent() -> None:
    model = AttentionPooling(nn.Conv2d(8, 1, 1))
    model.features = named(
        conv=nn.Conv2d(3, 8, 3, padding=1), act=nn.ReLU(), last=nn.Conv2d(8, 8, 3, stride=4, padding=1)
    )
    assert find(model, 16).note.endswith("target_layer='features.act' with method='layercam' gives 16 x 16")


@pytest.mark.parametrize("name", ["layer4", "layer4.1", "layer4.1.conv2", "fc"])
def test_named_layer(name: str) -> None:
    model = torchvision.models.resnet18(num_classes=2)
    assert named_layer(model, name) == TargetLayer(name, name)


def test_named_layer_says_what_was_meant() -> None:
    model = torchvision.models.resnet18(num_classes=2)
    with pytest.raises(
        ValueError, match=r"target_layer: no layer 'layer5' in ResNet; did you mean 'layer[1-4]'\?"
    ):
        named_layer(model, "layer5")
    with pytest.raises(ValueError, match=r"no layer 'layer4' in Sequential; did you mean 'net\.layer4'\?"):
        named_layer(named(net=model), "layer4")
    with pytest.raises(
        ValueError, match=r"no layer 'xyzzy' in ResNet; its children are conv1, bn1, relu, .*, fc\."
    ):
        named_layer(model, "xyzzy")
    with pytest.raises(ValueError, match=r"no layer 'conv' in Linear; its children are none\."):
        named_layer(nn.Linear(2, 2), "conv")
    with pytest.raises(ValueError, match="no layer '' in ResNet"):
        named_layer(model, "")


@pytest.mark.parametrize("name", [4, None, ["layer4"], nn.ReLU()], ids=["int", "none", "list", "module"])
@pytest.mark.usefixtures("unchecked")
def test_named_layer_wants_a_name(name: object) -> None:
    with pytest.raises(TypeError, match=r"target_layer: got .*; give the name of a submodule"):
        named_layer(nn.Linear(2, 2), name)


@pytest.mark.parametrize("name", ["net.layer4", "net._orig_mod.layer4"])
def test_named_layer_in_a_compiled_submodule(name: str) -> None:
    model = named(net=torch.compile(torchvision.models.resnet18(num_classes=2), backend="eager"))
    found = named_layer(model, name)
    assert found == TargetLayer("net.layer4", "net._orig_mod.layer4")
    assert model.get_submodule(found.path) is model.net._orig_mod.layer4


@pytest.mark.parametrize("name", ["layer4", "_orig_mod.layer4"])
def test_named_layer_in_a_compiled_model(name: str) -> None:
    model = torch.compile(torchvision.models.resnet18(num_classes=2), backend="eager")
    assert named_layer(model, name) == TargetLayer("layer4", "_orig_mod.layer4")


def test_a_name_that_holds_orig_mod_is_left_alone() -> None:
    model = named(my_orig_mod=nn.ReLU())
    assert named_layer(model, "my_orig_mod") == TargetLayer("my_orig_mod", "my_orig_mod")


def test_automatic_layer_in_a_compiled_submodule() -> None:
    net = torch.compile(torchvision.models.resnet18(num_classes=2), backend="eager")
    found = find(named(net=net), 128)
    assert (found.name, found.path) == ("net.layer4", "net._orig_mod.layer4")


def test_automatic_layer_where_the_compiled_submodule_is_the_layer() -> None:
    trunk = named(conv=nn.Conv2d(3, 8, 3), act=nn.ReLU())
    model = named(trunk=torch.compile(trunk, backend="eager"), **head())
    found = find(model)
    assert found.name == "trunk"
    assert model.get_submodule(found.path) in (model.trunk, trunk)


def test_no_hook_stays() -> None:
    model = torchvision.models.resnet18(num_classes=2)
    find(model, 64)
    assert hooks(model) == 0


def test_a_hook_of_the_user_stays() -> None:
    model = torchvision.models.resnet18(num_classes=2)
    calls = []
    model.layer1.register_forward_hook(lambda *_: calls.append(1))
    find(model, 64)
    assert hooks(model) == 1
    assert calls == [1]


def test_no_hook_stays_when_the_forward_raises() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise OSError("the disk is on fire")

    model = named(conv=nn.Conv2d(3, 8, 3), broken=Broken())
    with pytest.raises(OSError, match="the disk is on fire"):
        find(model)
    assert hooks(model) == 0


def test_no_hook_stays_when_the_layer_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    with pytest.raises(ValueError, match="no block or norm of Sequential"):
        find(model)
    assert hooks(model) == 0


def test_modes_stay() -> None:
    model = torchvision.models.resnet18(num_classes=2).train()
    model.layer2.eval()
    before = [module.training for module in model.modules()]
    find_layer(model, torch.rand(1, 3, 64, 64))
    assert [module.training for module in model.modules()] == before


class Vit(nn.Module):
    """Patches of 4 x 4, tokens before them, three blocks; scores from the first token, or from the mean of the patches."""

    def __init__(
        self, prefix: int = 1, order: str = "before", pool: str = "token", last_norm: bool = True
    ) -> None:
        super().__init__()
        self.stem, self.patches = nn.Identity(), nn.Conv2d(3, 8, 4, stride=4)
        self.prefix = nn.Parameter(torch.randn(1, prefix, 8))
        self.blocks = nn.ModuleList(Block(order) for _ in range(3))
        self.norm = nn.LayerNorm(8) if last_norm else nn.Identity()
        self.pool, self.fc = pool, nn.Linear(8, 3)

    def tokens(self, images: Tensor) -> Tensor:
        patches = self.patches(self.stem(images)).flatten(2).mT
        return torch.cat([self.prefix.expand(len(images), -1, -1), patches], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.tokens(images)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.fc(x[:, 0] if self.pool == "token" else x[:, self.prefix.shape[1] :].mean(dim=1))


class Hybrid(Vit):
    """Convolutions before the patches."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())


class Unfolded(Vit):
    """Patches without a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.embed = None, nn.Linear(48, 8)

    def tokens(self, images: Tensor) -> Tensor:
        patches = self.embed(nn.functional.unfold(images, 4, stride=4).mT)
        return torch.cat([self.prefix.expand(len(images), -1, -1), patches], dim=1)


class ClassAttention(Vit):
    """The class token joins last, and attends once (CaiT)."""

    def __init__(self) -> None:
        super().__init__(prefix=0, last_norm=False)
        self.token, self.before, self.attend = (
            nn.Parameter(torch.randn(1, 1, 8)),
            nn.LayerNorm(8),
            Attention(),
        )
        self.after = nn.LayerNorm(8)

    def forward(self, images: Tensor) -> Tensor:
        x = self.tokens(images)
        for block in self.blocks:
            x = block(x)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        return self.fc(self.after(torch.cat([self.attend(self.before(x), 1), x[:, 1:]], dim=1))[:, 0])


class Windows(nn.Module):
    """Attention within windows of 2 x 2, channels last (Swin)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.block, self.norm = nn.Conv2d(3, 8, 4, stride=4), WindowBlock(), nn.LayerNorm(8)
        self.fc = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.norm(self.block(self.patches(images).permute(0, 2, 3, 1))).mean(dim=(1, 2)))


class WindowBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Block()

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, k = x.shape
        windows = x.reshape(n, h // 2, 2, w // 2, 2, k).transpose(2, 3).reshape(-1, 4, k)
        return self.inner(windows).reshape(n, h // 2, w // 2, 2, 2, k).transpose(2, 3).reshape(n, h, w, k)


class Halved(Vit):
    """Every other patch, without a convolution (LeViT)."""

    def forward(self, images: Tensor) -> Tensor:
        h, w = (side // 4 for side in images.shape[2:])
        x = self.blocks[0](self.tokens(images))
        x = x.unflatten(1, (h, w))[:, ::2, ::2].flatten(1, 2)
        return self.fc(self.blocks[1](x).mean(dim=1))


class Queries(Vit):
    """Nine learned queries read the patches: 3 x 3 they are not."""

    def __init__(self) -> None:
        super().__init__(prefix=0)
        self.queries, self.read, self.after = nn.Parameter(torch.randn(1, 9, 8)), Attention(), nn.LayerNorm(8)

    def forward(self, images: Tensor) -> Tensor:
        x = self.tokens(images)
        for block in self.blocks:
            x = block(x)
        x = torch.cat([self.queries.expand(len(x), -1, -1), self.norm(x)], dim=1)
        return self.fc(self.after(self.read(x, 9)).mean(dim=1))


class Latents(Vit):
    """Four latents read the patches and think about them: 2 x 2 they are not, although that is a half of the patches' half."""

    def __init__(self) -> None:
        super().__init__(prefix=0)
        self.latents, self.read, self.after = nn.Parameter(torch.randn(1, 4, 8)), Attention(), Block()

    def forward(self, images: Tensor) -> Tensor:
        x = torch.cat([self.latents.expand(len(images), -1, -1), self.norm(self.tokens(images))], dim=1)
        return self.fc(self.after(self.read(x, 4)).mean(dim=1))


class HandsOn(nn.Module):
    """A stage that yields a map and the class token, which alone is classified (PiT)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.stage, self.fc = nn.Conv2d(3, 8, 4, stride=4), Stage(), nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.stage(self.patches(images))[1])


class Stage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token, self.block = nn.Parameter(torch.randn(1, 1, 8)), Block()

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        x = self.block(torch.cat([self.token.expand(len(maps), -1, -1), maps.flatten(2).mT], dim=1))
        return x[:, 1:].mT.unflatten(2, maps.shape[2:]), x[:, 0]


class Positions(Vit):
    """The same convolution tells every block where its patches are (CoaT)."""

    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Conv2d(8, 8, 3, padding=1, groups=8)

    def forward(self, images: Tensor) -> Tensor:
        x, grid = self.tokens(images), tuple(side // 4 for side in images.shape[2:])
        for block in self.blocks:
            x = torch.cat(
                [x[:, :1], x[:, 1:] + self.where(x[:, 1:].mT.unflatten(2, grid)).flatten(2).mT], dim=1
            )
            x = block(x)
        return self.fc(x[:, 0])


TRANSFORMERS_BY_HAND = {
    "class token": (Vit(), "blocks.2.norm1"),
    "class token and registers": (Vit(prefix=5), "blocks.2.norm1"),
    "two class tokens": (Vit(prefix=2), "blocks.2.norm1"),
    "norms after": (Vit(order="after"), "blocks.1"),
    "norms within the branch": (Vit(order="within"), "blocks.1"),
    "mean, a norm at the end": (Vit(prefix=0, pool="mean"), "norm"),
    "mean, no norm at the end": (Vit(prefix=0, pool="mean", last_norm=False), "blocks.2"),
    "mean, beside a class token": (Vit(pool="mean"), "norm"),
    "convolutions first": (Hybrid(), "blocks.2.norm1"),
    "no convolution": (Unfolded(), "blocks.2.norm1"),
    "class attention": (ClassAttention(), "before"),
    "windows": (Windows(), "norm"),
    "halved": (Halved(prefix=0), "blocks.1"),
    "queries": (Queries(), "norm"),
    "latents": (Latents(), "norm"),
    "class token handed on": (HandsOn(), "stage.block.norm1"),
    "a shared convolution": (Positions(), "blocks.2.norm1"),
}


@pytest.mark.parametrize("size", [(32, 32), (24, 16), (16, 32)], ids=str)
@pytest.mark.parametrize(("model", "layer"), TRANSFORMERS_BY_HAND.values(), ids=TRANSFORMERS_BY_HAND)
def test_the_last_map_on_which_the_scores_depend(model: nn.Module, layer: str, size: Size) -> None:
    images = torch.rand(1, 3, *size)
    found = find_layer(model.eval(), images)
    assert (found.name, found.path) == (layer, layer)
    seen = []
    module = model.get_submodule(layer)
    handle = module.register_forward_hook(lambda module, args, output: seen.append(output))
    model(images)
    handle.remove()
    own = layout(module, tuple(seen[0].shape), size)
    parts = 8 if layer == "blocks.1" and isinstance(model, Halved) else 4
    assert own is not None
    assert own.grid == (size[0] // parts, size[1] // parts)
    assert hooks(model) == 0


class SequenceFirst(Vit):
    """(t, n, k): what torch's transformers take unless told."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=False)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.encoder(self.tokens(images).transpose(0, 1))[0])


class Deaf(Vit):
    """The class token never attends to a patch."""

    def forward(self, images: Tensor) -> Tensor:
        x = self.tokens(images)
        self.blocks[1](x)
        return self.fc(self.blocks[0](x[:, :1])[:, 0])


REFUSED = {"the sequence first": SequenceFirst(), "nothing decides": Deaf()}


@pytest.mark.parametrize("model", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_known_is_refused_and_candidates_are_named(model: nn.Module) -> None:
    said = r"no block or norm of \w+ was found that yields a map on which the scores depend, .* name one\. Candidates: '"
    with pytest.raises(ValueError, match=said) as refusal:
        find(model)
    assert candidates(str(refusal.value)) == (
        ["patches"] if isinstance(model, SequenceFirst) else ["blocks.1"]
    )
    assert hooks(model) == 0


class Signal(nn.Module):
    """A transformer over a signal."""

    def __init__(self, prefix: int = 0) -> None:
        super().__init__()
        self.patches, self.block, self.fc = nn.Conv1d(3, 8, 4, stride=4), Block(), nn.Linear(8, 3)
        self.prefix = nn.Parameter(torch.randn(1, prefix, 8))

    def forward(self, signals: Tensor) -> Tensor:
        x = torch.cat([self.prefix.expand(len(signals), -1, -1), self.patches(signals).mT], dim=1)
        return self.fc(self.block(x).mean(dim=1))


@pytest.mark.parametrize("length", [64, 32], ids=["long", "as many patches as channels"])
def test_a_transformer_over_a_signal(length: int) -> None:
    model = Signal().eval()
    found = find_layer(model, torch.rand(1, 3, length))
    assert found.name == "block"
    assert layout(model.block, (1, length // 4, 8), (length,)) == Layout((length // 4,), channels_last=True)


def test_a_class_token_before_a_signal_is_refused() -> None:
    """Counted as a place it would shift all others."""
    with pytest.raises(ValueError, match="no block or norm of Signal was found"):
        find_layer(Signal(prefix=1).eval(), torch.rand(1, 3, 64))


@pytest.mark.parametrize(
    ("kind", "norm"), [(nn.Conv1d, nn.BatchNorm1d), (nn.Conv3d, nn.BatchNorm3d)], ids=["1d", "3d"]
)
def test_convolutions_over_signals_and_volumes(kind: type[nn.Module], norm: type[nn.Module]) -> None:
    count = 1 if kind is nn.Conv1d else 3
    pool = nn.AdaptiveAvgPool1d(1) if count == 1 else nn.AdaptiveAvgPool3d(1)
    body = named(conv=kind(3, 8, 3, stride=2, padding=1), norm=norm(8), act=nn.ReLU())
    model = named(body=body, pool=pool, flatten=nn.Flatten(), fc=nn.Linear(8, 3)).eval()
    assert find_layer(model, torch.rand(1, 3, *[16] * count)).name == "body"
    assert dimensions(model) == count


def test_dimensions() -> None:
    class Standardized(nn.Conv3d):
        pass

    assert dimensions(nn.Sequential(nn.Linear(2, 2))) == 2
    assert dimensions(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv1d(1, 1, 1))) == 2
    assert dimensions(nn.Sequential(Standardized(1, 1, 1))) == 3


@pytest.mark.parametrize("name", ["blocks.0", "blocks.2", "norm", "patches", "blocks.1.mlp"])
def test_a_named_layer_of_tokens_is_looked_at(name: str) -> None:
    explanation = explain(
        Vit(pool="mean").eval(), torch.randn(2, 3, 24, 16), target_layer=name, method="hirescam"
    )
    assert explanation.target_layer == name
    assert explanation.cams.shape == (2, 6, 4)
    assert (explanation.cams.flatten(1).amax(dim=1) > explanation.cams.flatten(1).amin(dim=1)).all()


def test_a_named_layer_without_patches_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'fc' yields a float32 tensor .* name a layer that yields one map"):
        explain(Vit().eval(), torch.randn(2, 3, 16, 16), target_layer="fc")


# --- networks whose layers no hook reaches, and those that run twice


@pytest.mark.parametrize("kind", ["traced", "scripted"])
def test_a_layer_within_a_closed_network_is_refused(kind: str) -> None:
    images = torch.rand(2, 3, 16, 16)
    inner = nn.Sequential(Convolutions(), nn.Linear(8, 2))
    model = nn.Sequential(closed(inner, images, kind)).eval()
    with pytest.raises(
        ValueError, match=r"target_layer: '0\.0\.features' cannot be looked at\. The layers within '0' are"
    ):
        named_layer(model, "0.0.features")
    with pytest.raises(
        ValueError, match=r"No module yields a map .* The layers within '0' are closed: torch\.jit"
    ):
        find_layer(model, images)
    assert find_layer(nn.Sequential(inner).eval(), images).name == "0.0.features"


def test_the_output_of_a_traced_network_can_be_looked_at_and_of_a_scripted_one_not() -> None:
    images = torch.rand(2, 3, 16, 16)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    traced = nn.Sequential(closed(Convolutions().features, images), head).eval()
    assert find_layer(traced, images).name == named_layer(traced, "0").name == "0"
    scripted = nn.Sequential(closed(Convolutions().features, images, "scripted"), head).eval()
    with pytest.raises(ValueError, match="target_layer: '0' cannot be looked at"):
        named_layer(scripted, "0")


class Compared(nn.Module):
    """Two images through one network, stacked as channels; the batch norm comes after the last convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = Convolutions(), nn.Linear(8, 2)

    def forward(self, both: Tensor) -> Tensor:
        return self.head((self.embed(both[:, :3]) - self.embed(both[:, 3:])).abs())


def test_a_norm_after_the_last_convolution_does_not_hide_that_it_runs_twice() -> None:
    model = Compared().eval()
    words = r"convolution 'embed\.features\.4' of Compared runs more than once .* network=lambda module, images: module\."
    with pytest.raises(ValueError, match=words):
        find_layer(model, torch.rand(1, 6, 16, 16))
    reference = torch.rand(8)
    config = ModelConfig(network=lambda module, images: module.head(module.embed(images) - reference))
    assert find_layer(model, torch.rand(1, 3, 16, 16), config=config).name == "embed.features"
