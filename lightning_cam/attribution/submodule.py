"""Which submodule a name means."""

import re
from collections.abc import Iterable

import torch
from torch import nn

from lightning_cam.registry import did_you_mean


def plain(path: str) -> str:
    """A submodule's path as the user writes it: without the ``_orig_mod`` that ``torch.compile`` adds."""
    return re.sub(r"(^|\.)_orig_mod(?=\.|$)", "", path).removeprefix(".")


def submodule_paths(model: nn.Module) -> dict[str, str]:
    """The path of every submodule, as ``model.get_submodule`` takes it, by the name that the user writes."""
    return {plain(path): path for path, _ in model.named_modules() if plain(path)}


def is_closed(module: nn.Module) -> bool:
    """Whether a module lies within a traced or scripted network, where no hook runs; the outermost module of
    a traced one can be hooked.
    """
    return isinstance(module, torch.jit.ScriptModule) and not isinstance(
        module, torch.jit.TopLevelTracedModule
    )


def closed_hint(model: nn.Module) -> str:
    """A sentence on networks in the model whose layers cannot be looked at; nothing where there are none."""
    closed = [
        plain(path) for path, module in model.named_modules() if isinstance(module, torch.jit.ScriptModule)
    ]
    if not closed:
        return ""
    outer = [name for name in closed if not any(name.startswith(f"{other}.") for other in closed)]
    names = "the model" if "" in closed else " and ".join(map(repr, outer[:3]))
    return (
        f" The layers within {names} are closed: torch.jit traced or scripted them. Give the monitor the "
        "network as it was before, and trace it after training; or name a layer outside of it."
    )


def hint(model: nn.Module, name: str, paths: Iterable[str]) -> str:
    """The end of a message about a name that no submodule has: the closest one, or what there is."""
    children = ", ".join(dict(model.named_children())) or "none"
    return did_you_mean(plain(name), paths) or f"; its children are {children}."
