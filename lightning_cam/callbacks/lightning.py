"""``pytorch_lightning`` and ``lightning.pytorch``: what the callback needs of them, the same for both."""

import functools
import importlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

from lightning_utilities.core import rank_zero

Trainer: TypeAlias = Any  # of either namespace
LightningModule: TypeAlias = Any
NAMESPACES = ("lightning.pytorch", "pytorch_lightning")


def callback_bases() -> tuple[type, ...]:
    """``Callback`` of both namespaces, as far as they are installed: each Trainer asks for its own.

    So both are imported here, also the one that the user's code does not use. Each writes two globals of
    ``lightning_utilities`` when it is imported: the log of all messages, and the category of deprecation
    warnings. They are put back, so that ``logging.getLogger("lightning.pytorch").setLevel(...)`` still works.
    """
    in_use = any(sys.modules.get(namespace) is not None for namespace in NAMESPACES)
    log, category = rank_zero.log, rank_zero.rank_zero_deprecation_category
    bases = []
    for namespace in NAMESPACES:
        try:
            bases.append(importlib.import_module(namespace).Callback)
        except ModuleNotFoundError:
            continue

    if in_use:
        rank_zero.log, rank_zero.rank_zero_deprecation_category = log, category
    elif len(bases) == len(NAMESPACES):
        # The user's own import comes later and finds both done, so nobody knows yet which one it will be.
        rank_zero.log = LogOfCaller()  # type: ignore[assignment]
        rank_zero.rank_zero_deprecation_category = _deprecation_of_both()
    return tuple(bases)


class LogOfCaller:
    """Is, at each use, the log of the namespace whose code writes the message.

    It stands where ``lightning_utilities`` has one log for both namespaces, the one imported last.
    """

    def __getattr__(self, name: str) -> Any:
        frame = sys._getframe(1)
        while frame is not None:
            root = frame.f_globals.get("__name__", "").partition(".")[0]
            if root in ("lightning", "pytorch_lightning", "lightning_fabric"):
                break
            frame = frame.f_back  # type: ignore[assignment]
        namespace = "lightning.pytorch" if frame is not None and root == "lightning" else "pytorch_lightning"
        return getattr(logging.getLogger(f"{namespace}.utilities.rank_zero"), name)


def _deprecation_of_both() -> type[DeprecationWarning]:
    """A category that a filter for either namespace's ``LightningDeprecationWarning`` fits."""
    modules = ("lightning.fabric.utilities.rank_zero", "lightning_fabric.utilities.rank_zero")
    bases = [importlib.import_module(module).LightningDeprecationWarning for module in modules]
    return type("LightningDeprecationWarning", tuple(bases), {})


def run_name(trainer: Trainer, pl_module: LightningModule) -> str:
    """What the run is called: the module's class, and name and version of its first logger."""
    words: list[str] = []
    if trainer.loggers and trainer.is_global_zero:
        logger = trainer.loggers[0]
        with suppress(Exception):  # a logger of the user's own; a name is no reason to lose a look
            words = [str(word) for word in (logger.name, logger.version) if word not in (None, "")]
    return " · ".join([type(pl_module).__name__, *words])


def metrics_of(trainer: Trainer, monitors: Iterable[str]) -> dict[str, float]:
    """What the user's own validation logged, by name, without the scalars of monitors of these names."""
    found, theirs = trainer.callback_metrics.items(), tuple(f"{monitor}/" for monitor in monitors)
    return {name: float(value) for name, value in found if not name.startswith(theirs)}


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
