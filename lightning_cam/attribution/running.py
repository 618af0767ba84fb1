"""How a model is run: which function, which module, on which device and in which dtype."""

import inspect
import sys
from typing import Any

from torch import Tensor, nn

from lightning_cam.attribution.config import Forward, ModelConfig
from lightning_cam.attribution.layout import CONVOLUTIONS
from lightning_cam.attribution.submodule import hint, plain, submodule_paths
from lightning_cam.selectors import describe, imported
from lightning_cam.typing import Images


def check_runnable(model: nn.Module, config: ModelConfig) -> None:
    """Refuses a model that cannot be run as ``config`` says.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: No such submodule; or what shall be called, the model or its submodule, has no ``forward``
            of its own.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: got {describe(model)}; give a torch.nn.Module.")
    runner(model, config.network)
    called = watched(model, config)
    none_of_its_own = ("LightningModule.forward", "_forward_unimplemented")
    missing = getattr(type(called).forward, "__qualname__", "") in none_of_its_own
    if not missing or "forward" in vars(called):
        return
    if called is not model:
        raise ValueError(
            f"network: {config.network!r} is {describe(called)}, which has no forward; "
            "name a submodule that has one, or give a function (model, images) -> output."
        )
    if config.network is None:
        child = next((name for name, _ in model.named_children()), "net")
        raise ValueError(
            f"network: {type(model).__name__} has no forward; "
            f"define one that returns the class scores, or say what to run: network={child!r}, the name of a "
            f"submodule, or a function, network=lambda module, images: module.{child}(images)."
        )


def check_still(model: nn.Module, images: Images) -> None:
    """Refuses clips and volumes for a network that looks at single images.

    Raises:
        ValueError: Images have five dimensions, and the first convolution is one of two.
    """
    first = next((module for module in model.modules() if isinstance(module, CONVOLUTIONS)), None)
    if images.ndim == 5 and isinstance(first, nn.Conv2d):
        raise ValueError(
            f"images: got {describe(images)}, clips or volumes, for a network of two-dimensional "
            "convolutions, which sees their frames one by one; a map is of one image. Give it single frames "
            "as clips: inputs=Inputs(images=lambda batch: batch[0][:, 0]), network=lambda module, frames: "
            "module(frames[:, None])."
        )


def watched(model: nn.Module, config: ModelConfig) -> nn.Module:
    """The module that sees the images first: the submodule that ``config`` names, else the model."""
    path = submodule_paths(model).get(plain(config.network)) if isinstance(config.network, str) else None
    return model if path is None else model.get_submodule(path)


def runner(model: nn.Module, network: str | Forward | None) -> Forward:
    """The function ``(model, images[, index]) -> output`` that ``ModelConfig.network`` means for this model.

    Raises:
        ValueError: A text is neither a submodule's name nor a function's import path.
    """
    if network is None:
        return _call
    if not isinstance(network, str):
        return network
    paths = submodule_paths(model)
    if plain(network) in paths:
        path = paths[plain(network)]
        return lambda model, images: model.get_submodule(path)(images)
    # Only now: the name of a submodule never imports a Python module of that name.
    function = imported(network)
    if callable(function):
        return function
    raise ValueError(
        f"network: no submodule {network!r} in {type(model).__name__}{hint(model, network, paths)}"
    )


def like(images: Images, model: nn.Module) -> Images:
    """Images on the model's device, and in its dtype where both are floating."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return images
    return images.to(parameter.device, parameter.dtype if images.is_floating_point() else images.dtype)


def _call(model: nn.Module, images: Tensor) -> Any:
    return model(images)


def takes_index(forward: Forward) -> bool:
    """Whether a function asks for a third argument, the index of each row's image."""
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        return False  # some built-in functions do not tell their arguments
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return sum(p.default is p.empty for p in positional) == 3


def is_compiled(model: nn.Module) -> bool:
    """Whether torch compiles the model, one of its submodules, or a method of it."""
    if "torch._dynamo" not in sys.modules:
        return False
    for module in model.modules():
        methods = (getattr(module, name, None) for name in ("forward", "training_step", "validation_step"))
        if (
            getattr(module, "_compiled_call_impl", None) is not None
            or hasattr(module, "_orig_mod")
            or any(hasattr(method, "_torchdynamo_orig_callable") for method in methods)
        ):
            return True
    return False
