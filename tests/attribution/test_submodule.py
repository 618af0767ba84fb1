"""Which submodule a name means."""

import torch
from support.odd_networks import Convolutions, closed
from torch import nn

from lightning_cam.attribution.submodule import closed_hint, hint, is_closed, plain, submodule_paths


def test_what_compilation_adds_is_not_part_of_a_name() -> None:
    assert plain("_orig_mod.layer4._orig_mod.0") == "layer4.0"
    assert plain("_orig_mod") == ""
    assert plain("my_orig_mod.layer") == "my_orig_mod.layer"


def test_paths_by_name() -> None:
    model = nn.Sequential(torch.compile(nn.Sequential(nn.ReLU()), backend="eager"))
    paths = submodule_paths(model)
    assert set(paths) == {"0", "0.0"}
    assert isinstance(model.get_submodule(paths["0.0"]), nn.ReLU)


def test_hints() -> None:
    model = nn.Sequential(nn.Sequential(nn.ReLU()))
    model.add_module("encoder", nn.Sequential(nn.ReLU()))
    paths = submodule_paths(model)
    assert hint(model, "encodr", paths) == "; did you mean 'encoder'?"
    assert hint(model, "zzzz", paths) == "; its children are 0, encoder."
    assert hint(nn.ReLU(), "zzzz", {}) == "; its children are none."


def test_which_networks_are_closed() -> None:
    images = torch.rand(2, 3, 16, 16)
    model = nn.ModuleDict({"a": closed(Convolutions(), images), "b": Convolutions()})
    assert closed_hint(model["b"]) == ""
    assert "The layers within 'a' are closed" in closed_hint(model)
    assert "The layers within the model are closed" in closed_hint(model["a"])
    assert [is_closed(model[name]) for name in "ab"] == [False, False]
    assert is_closed(model["a"].features)
    assert is_closed(closed(Convolutions(), images, "scripted"))
