"""``pytorch_lightning`` and ``lightning.pytorch``: what the callback needs of them, the same for both."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

Trainer: TypeAlias = Any  # of either namespace
LightningModule: TypeAlias = Any


def callback_bases() -> tuple[type, ...]:
    """``Callback`` of both namespaces, as far as they are installed: each Trainer asks for its own."""
    bases = []
    for namespace in ("lightning.pytorch", "pytorch_lightning"):
        try:
            bases.append(importlib.import_module(namespace).Callback)
        except ModuleNotFoundError:
            continue
    return tuple(bases)


@contextmanager
def unlogged(pl_module: LightningModule) -> Iterator[None]:
    """What a forward logs of the probe is none of the user's metrics."""
    attributes = pl_module.__dict__
    own = {name: attributes[name] for name in ("log", "log_dict") if name in attributes}
    attributes.update(log=_nothing, log_dict=_nothing)
    try:
        yield
    finally:
        del attributes["log"], attributes["log_dict"]
        attributes.update(own)


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Stands for ``log`` during a look."""
