"""Which submodule a name means."""

import re
from collections.abc import Iterable

from torch import nn

from lightning_cam.registry import did_you_mean


def plain(path: str) -> str:
    """A submodule's path as the user writes it: without the ``_orig_mod`` that ``torch.compile`` adds."""
    return re.sub(r"(^|\.)_orig_mod(?=\.|$)", "", path).removeprefix(".")


def submodule_paths(model: nn.Module) -> dict[str, str]:
    """The path of every submodule, as ``model.get_submodule`` takes it, by the name that the user writes."""
    return {plain(path): path for path, _ in model.named_modules() if plain(path)}


def hint(model: nn.Module, name: str, paths: Iterable[str]) -> str:
    """The end of a message about a name that no submodule has: the closest one, or what there is."""
    children = ", ".join(dict(model.named_children())) or "none"
    return did_you_mean(plain(name), paths) or f"; its children are {children}."
