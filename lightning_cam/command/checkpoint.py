"""What a file of weights holds, and a network with these weights."""

import importlib.util
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# Where training scripts keep the weights in their checkpoints.
NESTED = ("state_dict", "model_state_dict", "model")
AUXILIARY = ("aux", "AuxLogits")  # heads that are there in training alone


def read_checkpoint(path: Path, trust: bool, argument: str = "--checkpoint") -> Any:
    """What ``torch.save`` wrote, or a file of safetensors.

    Args:
        trust: Whether objects of any kind are read, which may run code.
        argument: How the user gave the path, for messages.

    Raises:
        ValueError: There is no such file, or it cannot be read, or not safely.
    """
    if path.suffix == ".safetensors" and path.exists():
        return _safe_tensors(path, argument)
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust)
    except FileNotFoundError:
        raise ValueError(f"{argument}: there is no file {path}.") from None
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        remedy = (
            "give a file that torch.save wrote" if trust else "if you know where it comes from, add --trust"
        )
        raise ValueError(
            f"{argument}: {path} is no checkpoint, or holds more than tensors and plain values, which may "
            f"run code when loaded; {remedy} ({reason})."
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, AttributeError, ImportError) as error:
        raise ValueError(f"{argument}: {path} cannot be read ({str(error).splitlines()[0]}).") from None


def load_weights(
    build: Callable[..., nn.Module], name: str, head: Callable[[nn.Module], str], path: Path, trust: bool
) -> nn.Module:
    """A classifier with the weights of a file: with as many classes as the file has, whatever its keys begin
    with.

    Args:
        build: Makes the network; takes ``num_classes``.
        name: Of the network, for messages.
        head: Of a network the key of a tensor with a row per class.

    Raises:
        ValueError: The file cannot be read, holds no weights, or those of another network.
    """
    state = _tensors(read_checkpoint(path, trust), path)
    model = build()
    own, last = list(model.state_dict()), head(model)
    starts = {
        key.removesuffix(last) for key in state if key.endswith(last) and key[: -len(last)][-1:] in ("", ".")
    }
    if not starts:
        raise ValueError(
            f"--checkpoint: {path} does not hold {name}: no {last!r} among its {len(state)} tensors, which "
            f"begin with {next(iter(state))!r}; give the --model that was saved."
        )
    start = max(starts, key=lambda start: sum(start + key in state for key in own))
    state = {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
    if len(state[last]) != len(model.state_dict()[last]):
        model = build(num_classes=len(state[last]))
    wanted = model.state_dict()
    problems = _problems(state, wanted)
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(
            f"--checkpoint: {path} does not fit {name}: {'; '.join(problems[:3])}{more}; "
            "give the --model that was saved."
        )
    model.load_state_dict({key: value for key, value in state.items() if key in wanted}, strict=False)
    return model


def _safe_tensors(path: Path, argument: str) -> dict[str, Tensor]:
    if importlib.util.find_spec("safetensors") is None:
        raise ValueError(f"{argument}: {path} needs the package safetensors; run: pip install safetensors")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{argument}: {path} cannot be read ({error}).") from None


def _problems(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What keeps a state from being a network's, but for heads that only training needs."""
    missing = [key for key in wanted if key not in state and not key.startswith(AUXILIARY)]
    excess = [key for key in state if key not in wanted and not key.startswith(AUXILIARY)]
    unlike = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    return [
        *(f"{key!r} is missing" for key in missing),
        *(f"{key!r} is in excess" for key in excess),
        *(f"{key!r} is {tuple(state[key].shape)} and not {tuple(wanted[key].shape)}" for key in unlike),
    ]


def _tensors(state: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, or of a checkpoint that holds one."""
    for key in NESTED:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    items = state.items() if isinstance(state, Mapping) else ()
    tensors = {str(key): value for key, value in items if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(
            f"--checkpoint: {path} holds a {type(state).__name__} without tensors; save model.state_dict()."
        )
    return tensors
