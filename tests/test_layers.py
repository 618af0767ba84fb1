"""The target layer: every convolutional classifier of torchvision, refusals, notes, names, and no hook left behind."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_cam.layers import TargetLayer, automatic_layer, named_layer
from lightning_cam.look import find_layer

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
TRANSFORMERS = ("vit_", "swin_", "maxvit")  # tokens; MaxViT puts them back into maps at the end of each of its blocks
# Only wider or deeper than a sibling that runs every time.
LARGER = re.compile(
    r"convnext_(base|large)|densenet(161|169|201)|efficientnet_(b[2-7]|v2_[ml])|regnet_.*[0-9]gf|res.*(101|152).*|wide_resnet101_2"
    r"|vit_[lh]_.*|swin_(v2_)?[sb]"
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
    return [pytest.param(name, marks=pytest.mark.full) if LARGER.fullmatch(name) else pytest.param(name) for name in names]


class CountingOnCpu(TorchFunctionMode):
    """RegNet computes its widths with tensors and reads them, which the meta device cannot."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (torch.arange, torch.tensor):
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


def classifiers() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models)


def without_weights(name: str) -> nn.Module:
    """The model on the meta device: shapes, but neither numbers nor memory."""
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    numbers_needed = name.startswith("regnet")
    with torch.device("meta"):
        if not numbers_needed:
            return torchvision.models.get_model(name, weights=None, **options).eval()
        with CountingOnCpu():
            return torchvision.models.get_model(name, weights=None).eval()


def on_meta(name: str) -> tuple[nn.Module, Callable[[], Tensor]]:
    model = without_weights(name)
    side = 299 if name == "inception_v3" else 224
    return model, partial(model, torch.empty(1, 3, side, side, device="meta"))


def hooks(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def named(**modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def head(channels: int = 8, classes: int = 3) -> dict[str, nn.Module]:
    return {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(channels, classes)}


def find(model: nn.Module, side: int = 16) -> TargetLayer:
    return find_layer(model.eval(), torch.rand(1, 3, side, side))


def candidates(message: str) -> list[str]:
    return re.findall(r"'([^']+)' \(\d+ x \d+\)", message.partition("Candidates:")[2])


def test_the_table_covers_torchvision() -> None:
    convolutional = {name for name in classifiers() if not name.startswith(TRANSFORMERS)}
    missing, gone = sorted(convolutional - set(EXPECTED)), sorted(set(EXPECTED) - convolutional)
    assert not missing, f"torchvision has new classifiers: work out the target layer of {missing} and add them to EXPECTED"
    assert not gone, f"torchvision no longer has {gone}: take them out of EXPECTED"


@pytest.mark.parametrize("name", cases(EXPECTED))
def test_target_layer_of_torchvision(name: str) -> None:
    layer, side = EXPECTED[name]
    model, forward = on_meta(name)
    sizes = []
    seeing = model.get_submodule(layer).register_forward_hook(lambda module, args, output: sizes.append(output.shape[2:]))
    with torch.no_grad():
        found = automatic_layer(model, forward)
    assert found == TargetLayer(layer, layer, "")
    assert sizes == [(side, side)]
    seeing.remove()
    assert hooks(model) == 0


def test_maxvit_ends_in_maps() -> None:
    # blocks: MBConv, window attention, grid attention, rearranged into (n, k, h, w); then classifier.0 pools.
    model, forward = on_meta("maxvit_t")
    with torch.no_grad():
        assert automatic_layer(model, forward) == TargetLayer("blocks.3", "blocks.3", "")


@pytest.mark.parametrize("name", SMALL_ON_CPU)
def test_target_layer_with_real_numbers(name: str) -> None:
    layer, side = SMALL_ON_CPU[name]
    model = torchvision.models.get_model(name, weights=None, num_classes=4)
    found = find(model, 64)
    assert (found.name, found.path) == (layer, layer)
    assert f"only {side} x {side}" in found.note


@pytest.mark.parametrize("name", cases(name for name in classifiers() if name.startswith(("vit_", "swin_"))))
def test_transformers_are_refused_not_guessed(name: str) -> None:
    model, forward = on_meta(name)
    with torch.no_grad(), pytest.raises(ValueError, match=r"cannot be guessed; name one\. Candidates: '") as refusal:
        automatic_layer(model, forward)
    assert type(model).__name__ in str(refusal.value)
    assert all(isinstance(model.get_submodule(path), nn.Module) for path in candidates(str(refusal.value)))
    assert hooks(model) == 0


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "swin_v2_t"])
def test_candidates_are_maps(name: str) -> None:
    """(n, h, w, k) is no map (n, k, h, w): a candidate "7 x 768" would be looked at sideways."""
    model, forward = on_meta(name)
    with torch.no_grad(), pytest.raises(ValueError, match="Candidates:") as refusal:
        automatic_layer(model, forward)
    sizes = re.findall(r"\((\d+) x (\d+)\)", str(refusal.value))
    assert sizes
    assert [size for size in sizes if size[0] != size[1]] == []


@pytest.mark.parametrize(("name", "positions"), [("vit_b_16", 14 * 14 + 1), ("swin_t", 7 * 7)])
def test_a_refusal_counts_positions(name: str, positions: int) -> None:
    model, forward = on_meta(name)
    with torch.no_grad(), pytest.raises(ValueError, match=f"still works on {positions} positions"):
        automatic_layer(model, forward)


def test_small_images_get_a_note_that_names_an_earlier_layer() -> None:
    # 32 px: layer4 has one position, so layer3 is the last with maps, 2 x 2; layer2 has 4 x 4.
    found = find(torchvision.models.resnet18(num_classes=10), 32)
    assert found.name == "layer3"
    assert found.note == "target_layer: 'layer3' gives maps of only 2 x 2; target_layer='layer2' gives 4 x 4"


def test_no_note_where_the_map_is_large_enough() -> None:
    assert find(named(conv=nn.Conv2d(3, 8, 3, padding=1), **head()), 4).note == ""


def test_a_note_without_an_earlier_layer() -> None:
    found = find(named(conv=nn.Conv2d(3, 8, 3, padding=1), **head()), 3)
    assert found == TargetLayer("conv", "conv", "target_layer: 'conv' gives maps of only 3 x 3")


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


def test_a_block_is_preferred_to_its_parts() -> None:
    block = named(conv=nn.Conv2d(3, 8, 3, padding=1), norm=nn.BatchNorm2d(8), act=nn.ReLU(), drop=nn.Dropout2d())
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
    with pytest.raises(ValueError, match=r"no 2-D convolution of Sequential yields a map .* No module yields a map \(n, k, h, w\)"):
        find(model)


def test_a_global_convolution_alone_is_refused() -> None:
    model = named(conv=nn.Conv2d(3, 8, 16), flatten=nn.Flatten(), fc=nn.Linear(8, 3))
    with pytest.raises(ValueError, match="no 2-D convolution of Sequential yields a map with spatial extent"):
        find(model)


def test_tokens_after_the_last_convolution_are_refused() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.mix, self.fc = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.fc(self.mix(self.patches(images).flatten(2).mT).mean(1))

    with pytest.raises(ValueError, match=r"'mix' of Tokens still works on 16 positions.*Candidates: 'patches' \(4 x 4\)"):
        find(Tokens())


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
    with pytest.raises(ValueError, match="the last convolution 'conv2' of Twice runs more than once in a forward") as refusal:
        find(Twice("conv2"))
    assert candidates(str(refusal.value)) == ["conv1"], "the candidates are there to be named"


def test_a_shared_activation_is_passed_over() -> None:
    assert find(Twice("act")).name == "conv2"


@pytest.mark.parametrize("name", ["layer4", "layer4.1", "layer4.1.conv2", "fc"])
def test_named_layer(name: str) -> None:
    model = torchvision.models.resnet18(num_classes=2)
    assert named_layer(model, name) == TargetLayer(name, name)


def test_named_layer_says_what_was_meant() -> None:
    model = torchvision.models.resnet18(num_classes=2)
    with pytest.raises(ValueError, match=r"target_layer: no layer 'layer5' in ResNet; did you mean 'layer[1-4]'\?"):
        named_layer(model, "layer5")
    with pytest.raises(ValueError, match=r"no layer 'layer4' in Sequential; did you mean 'net\.layer4'\?"):
        named_layer(named(net=model), "layer4")
    with pytest.raises(ValueError, match=r"no layer 'xyzzy' in ResNet; its children are conv1, bn1, relu, .*, fc\."):
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
    with pytest.raises(ValueError, match="no 2-D convolution"):
        find(model)
    assert hooks(model) == 0


def test_modes_stay() -> None:
    model = torchvision.models.resnet18(num_classes=2).train()
    model.layer2.eval()
    before = [module.training for module in model.modules()]
    find_layer(model, torch.rand(1, 3, 64, 64))
    assert [module.training for module in model.modules()] == before
