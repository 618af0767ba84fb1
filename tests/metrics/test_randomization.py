"""Maps of a model that forgets, module by module."""

from itertools import pairwise

import pytest
import torch
from reference import faithfulness as book
from support.networks import Net, net, pictures
from support.small_nets import maps
from support.traces import assert_same
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_cam import explain
from lightning_cam.metrics.randomization import _correlation, _ranks, parameter_randomization


def trained() -> Net:
    """A ``Net`` whose parameters all have values that differ."""
    model, generator = net(), torch.Generator().manual_seed(4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data = 0.5 + torch.rand(module.weight.shape, generator=generator)
            module.bias.data = torch.randn(module.bias.shape, generator=generator) / 4
    return model


def signed_map(model: nn.Module, images: Tensor) -> Tensor:
    return explain(model, images, target=1, method="hirescam").cams


FROM_THE_END = ["head", "body.1", "body.0", "stem.1", "stem.0"]


def test_from_the_last_module_to_the_first() -> None:
    found = parameter_randomization(trained(), pictures(), signed_map)
    assert list(found) == FROM_THE_END
    assert all(values.shape == (4,) for values in found.values())
    assert all(values.abs().mean() < 0.7 for values in found.values())


def test_what_is_drawn_anew_at_each_stage() -> None:
    model, seen = trained(), []

    def remembers(copy: nn.Module, images: Tensor) -> Tensor:
        seen.append({name: value.detach().clone() for name, value in copy.named_parameters()})
        return signed_map(copy, images)

    parameter_randomization(model, pictures(), remembers)
    assert len(seen) == 6
    assert_same(seen[0], dict(model.named_parameters()))
    for stage, (before, after) in zip(FROM_THE_END, pairwise(seen), strict=True):
        assert {name.rpartition(".")[0] for name in before if not torch.equal(before[name], after[name])} == {
            stage
        }
        for name in before:
            assert torch.equal(before[name].flatten().sort().values, after[name].flatten().sort().values)


def test_a_map_that_ignores_the_model_does_not_change() -> None:
    found = parameter_randomization(net(), pictures(), lambda model, images: images.mean(dim=1))
    assert_close(torch.stack(list(found.values())), torch.ones(5, 4))


def test_the_same_seed_and_another() -> None:
    once, again, other = (
        parameter_randomization(trained(), pictures(), signed_map, stages=1, seed=seed)["stem.0"]
        for seed in (0, 0, 1)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_stages_in_groups() -> None:
    every = parameter_randomization(trained(), pictures(), signed_map)
    assert_close(parameter_randomization(trained(), pictures(), signed_map, stages=100), every)
    two = parameter_randomization(trained(), pictures(), signed_map, stages=2)
    assert_close(two, {name: every[name] for name in ("body.1", "stem.0")})
    named = parameter_randomization(trained(), pictures(), signed_map, stages=["head", "body", "stem"])
    assert_close(named, {"head": every["head"], "body": every["body.0"], "stem": every["stem.0"]})
    first = parameter_randomization(trained(), pictures(), signed_map, stages=["stem.0"])
    assert list(first) == ["stem.0"]


def test_parameters_of_the_model_itself() -> None:
    class Scaled(Net):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.rand(5))

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * self.scale

    assert list(parameter_randomization(Scaled(), pictures(), signed_map)) == [*FROM_THE_END, "Scaled"]


@pytest.mark.needs("scipy")
def test_ranks_and_their_twin() -> None:
    from scipy.stats import spearmanr

    one, other = maps(3, (7, 5)), maps(3, (7, 5), seed=2)
    other[2] = 0.25
    found = _correlation(_ranks(one), _ranks(other))
    expected = [book.rank_correlation(a.numpy(), b.numpy()) for a, b in zip(one, other, strict=True)]
    assert_close(found, torch.tensor(expected), equal_nan=True, rtol=0, atol=1e-6)
    assert found.isnan().tolist() == [False, False, True]
    assert_close(
        found[0].item(), spearmanr(one[0].flatten(), other[0].flatten()).statistic, rtol=0, atol=1e-6
    )


@pytest.mark.needs("scipy")
def test_large_maps_have_exact_ranks() -> None:
    from scipy.stats import spearmanr

    one = torch.rand(1, 200, 300, generator=torch.Generator().manual_seed(0))
    other = one + torch.rand(1, 200, 300, generator=torch.Generator().manual_seed(1))
    found = _correlation(_ranks(one), _ranks(other))
    assert_close(found.item(), spearmanr(one.flatten(), other.flatten()).statistic, rtol=0, atol=1e-5)


def test_maps_without_an_order() -> None:
    broken = torch.rand(3, 4, 4)
    broken[1], broken[2, 0, 0] = 0.5, torch.nan
    found = parameter_randomization(net(), pictures(3), lambda model, images: broken, stages=1)["stem.0"]
    assert_close(found, torch.tensor([1.0, torch.nan, torch.nan]), equal_nan=True)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": len}, TypeError, r"model: got .*; give a torch\.nn\.Module"),
        ({"model": nn.Flatten()}, ValueError, "model: Flatten has no parameters; there is nothing to forget"),
        ({"images": None}, TypeError, "images: got a NoneType"),
        ({"stages": 0}, ValueError, "stages: got 0; give at least 1, or None"),
        (
            {"stages": ["heat"]},
            ValueError,
            r"stages: no module 'heat' with parameters; did you mean 'head'\?",
        ),
        ({"stages": ["dropout"]}, ValueError, r"stages: no module 'dropout' with parameters\."),
        (
            {"saliency_of": lambda model, images: images[0]},
            ValueError,
            r"saliency_of: returned a float32 tensor \(3, 16, 16\) for 4 images",
        ),
        (
            {"saliency_of": lambda model, images: explain(model, images)},
            ValueError,
            "saliency_of: returned an Explanation",
        ),
    ],
)
def test_bad_randomization(arguments: dict, error: type[Exception], message: str) -> None:
    given = {"model": net(), "images": pictures(), "saliency_of": signed_map} | arguments
    with pytest.raises(error, match=message):
        parameter_randomization(**given)
