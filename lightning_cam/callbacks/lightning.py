"""``pytorch_lightning`` and ``lightning.pytorch``: what the callback needs of them, the same for both."""

import functools
import importlib
from collections.abc import Callable, Iterator
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


def forward_through(trainer: Trainer, forward: Callable | None) -> Callable | None:
    """``forward`` as the strategy wants it: FSDP1 gathers parameters when its wrapper is called, all others
    when the module is.
    """
    wrapper = trainer.strategy.model
    if type(wrapper).__name__ != "FullyShardedDataParallel":
        return forward

    def call(module: LightningModule, images: Any) -> Any:
        return module(images)

    own = forward or call

    @functools.wraps(own)  # whether it takes an index is read from its arguments
    def gathered(module: LightningModule, *arguments: Any) -> Any:
        before = module.__dict__.get("forward")

        def once(*given: Any) -> Any:
            put_back()
            return own(module, *given)

        def put_back() -> None:
            module.__dict__.pop("forward", None)
            if before is not None:
                module.__dict__["forward"] = before

        module.__dict__["forward"] = once
        try:
            return wrapper(*arguments)
        finally:
            put_back()

    return gathered


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
