"""Weights out of a file, whatever wrote it."""

from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from lightning_cam.command.checkpoint import load_weights, read_checkpoint

SMALL = "squeezenet1_1"


def last(model: nn.Module) -> str:
    return list(model.state_dict())[-1]


def loaded(path: Path, name: str = SMALL, trust: bool = False) -> nn.Module:
    return load_weights(partial(torchvision.models.get_model, name, weights=None), name, last, path, trust)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torchvision.models.get_model(SMALL, num_classes=8)


@pytest.mark.parametrize("nested", ["bare", "state_dict", "model", "prefix", "module"])
def test_checkpoints_of_any_kind(nested: str, model: nn.Module, tmp_path: Path) -> None:
    state = model.state_dict()
    saved: dict = {
        "bare": state,
        "state_dict": {"epoch": 3, "state_dict": state},
        "model": {"model": state, "epoch": 3, "args": {"lr": 0.1}},
        "prefix": {
            "state_dict": {f"net.{key}": value for key, value in state.items()}
            | {"loss.weight": torch.ones(8)},
            "hyper_parameters": {"lr": 0.1},
        },
        "module": {"state_dict": {f"model.module.{key}": value for key, value in state.items()}},
    }[nested]
    torch.save(saved, tmp_path / "kind.ckpt")
    found = loaded(tmp_path / "kind.ckpt").state_dict()
    assert found.keys() == state.keys()
    for key, value in state.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=0)


def test_a_head_that_training_alone_needs_may_be_missing(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        state = torchvision.models.get_model("googlenet", num_classes=3, init_weights=False).state_dict()
    assert any(key.startswith("aux") for key in state)
    torch.save(
        {key: value for key, value in state.items() if not key.startswith("aux")}, tmp_path / "few.pth"
    )
    build = partial(torchvision.models.get_model, "googlenet", weights=None, init_weights=False)
    found = load_weights(build, "googlenet", last, tmp_path / "few.pth", False).state_dict()
    torch.testing.assert_close(found["fc.bias"], state["fc.bias"], rtol=0, atol=0)


class Unsafe:
    """What a careful reader does not load."""


@pytest.mark.parametrize(
    ("saved", "name", "message"),
    [
        ("model", "alexnet", r"does not hold alexnet: no 'classifier\.6\.bias' among its 52 tensors"),
        ("model", "squeezenet1_0", r"does not fit squeezenet1_0: .* and \d+ more; give the --model that was"),
        ("list", SMALL, "holds a list without tensors; save model.state_dict"),
        ("unsafe", SMALL, "which may run code when loaded; if you know where it comes from, add --trust"),
        ("cut", SMALL, "cannot be read"),
        ("text", SMALL, "is no checkpoint, or holds"),
        ("folder", SMALL, "cannot be read"),
        ("none", SMALL, "--checkpoint: there is no file"),
    ],
)
def test_files_that_will_not_do(
    saved: str, name: str, message: str, model: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / saved
    torch.save(model.state_dict(), tmp_path / "model")
    whole = (tmp_path / "model").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text").write_text("no weights")
    (tmp_path / "folder").mkdir()
    torch.save([1, 2], tmp_path / "list")
    torch.save({"state_dict": model.state_dict(), "config": Unsafe()}, tmp_path / "unsafe")
    with pytest.raises(ValueError, match=message):
        loaded(path, name)


@pytest.mark.needs("safetensors")
def test_safetensors_as_hubs_give_them(model: nn.Module, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(model.state_dict(), tmp_path / "model.safetensors")
    found = loaded(tmp_path / "model.safetensors").state_dict()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=0)
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(ValueError, match=r"--checkpoint: .*text\.safetensors cannot be read \("):
        loaded(tmp_path / "text.safetensors")
    with pytest.raises(ValueError, match=r"--checkpoint: there is no file .*none\.safetensors"):
        loaded(tmp_path / "none.safetensors")


def test_a_file_that_one_trusts(model: nn.Module, tmp_path: Path) -> None:
    torch.save({"state_dict": model.state_dict(), "config": Unsafe()}, tmp_path / "own.ckpt")
    assert isinstance(read_checkpoint(tmp_path / "own.ckpt", trust=True)["config"], Unsafe)
    found = loaded(tmp_path / "own.ckpt", trust=True).state_dict()
    torch.testing.assert_close(found["classifier.1.bias"], model.state_dict()["classifier.1.bias"])
