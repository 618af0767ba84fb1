"""The target layer: found by the shapes of one forward, or by name."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lightning_cam.tables import did_you_mean

SMALLEST_MAP = 4  # below this many positions a side, a note names an earlier layer
PASSED_OVER = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


@dataclass(frozen=True)
class TargetLayer:
    """Where to look.

    Args:
        name: As the user writes it, ``"layer4"``.
        path: As ``model.get_submodule`` takes it; a compiled submodule adds ``_orig_mod``.
        note: What the user should know of this layer, or nothing.
    """

    name: str
    path: str
    note: str = ""


def named_layer(model: nn.Module, name: str) -> TargetLayer:
    """The layer of that name, with or without the ``_orig_mod`` that ``torch.compile`` adds.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: No such layer; the message names the closest one.
    """
    if not isinstance(name, str):
        raise TypeError(f"target_layer: got {name!r}; give the name of a submodule, such as 'layer4'.")
    paths = {_plain(path): path for path, _ in model.named_modules() if path}
    if _plain(name) not in paths:
        hint = did_you_mean(_plain(name), paths) or f"; its children are {', '.join(dict(model.named_children())) or 'none'}."
        raise ValueError(f"target_layer: no layer {name!r} in {type(model).__name__}{hint}")
    return TargetLayer(_plain(name), paths[_plain(name)])


def automatic_layer(model: nn.Module, forward: Callable[[], Any]) -> TargetLayer:
    """The target layer of a convolutional classifier, from the shapes of one forward.

    It is the last convolution whose output has spatial extent, then the last module to finish, no pooling and run only once, that
    still yields that spatial size: ResNet ``layer4``, VGG-16 ``features.29``, DenseNet ``features``.

    Args:
        forward: Runs the model on one image, in eval mode and without grad.

    Raises:
        ValueError: No convolution yields a map, the maps live on after the last convolution (tokens, channels-last), or all that
            could be chosen runs more than once: the message lists candidates.
    """
    with recording(model) as trace:
        forward()
    convolutions = [run for run in trace if isinstance(run.module, nn.Conv2d) and run.extent]
    if not convolutions:
        raise ValueError(
            f"target_layer: no 2-D convolution of {type(model).__name__} yields a map with spatial extent; "
            f"a CAM needs one. {_candidates(trace)}"
        )
    last = convolutions[-1]
    after = trace[trace.index(last) :]
    chosen = next((run for run in reversed(after) if run.extent == last.extent and _is_map(run.module) and _once(run, trace)), None)
    if chosen is None:
        raise ValueError(
            f"target_layer: the last convolution {last.name!r} of {type(model).__name__} runs more than once in a forward, so the "
            f"layer cannot be guessed; name one that runs once. {_candidates(trace)}"
        )
    later = [run for run in trace[trace.index(chosen) + 1 :] if run.weighted and run.positions > 1]
    if later:
        raise ValueError(
            f"target_layer: after the last convolution {last.name!r}, {later[-1].name!r} of {type(model).__name__} still works on "
            f"{later[-1].positions} positions, so the layer cannot be guessed; name one. {_candidates(trace)}"
        )
    return TargetLayer(_plain(chosen.name), chosen.name, _note(chosen, trace))


@dataclass(frozen=True, eq=False)
class Run:
    """One module that finished during a forward, and the shape it yielded."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...] | None:
        """(h, w) of a map (n, k, h, w) with more than one position, else None."""
        return self.shape[2:] if len(self.shape) == 4 and self.shape[2] * self.shape[3] > 1 else None

    @property
    def positions(self) -> int:
        """Positions of a map (n, k, h, w), of channels-last (n, h, w, k) or of tokens (n, t, k): 1 where nothing is spatial."""
        if len(self.shape) == 3:
            return self.shape[1]
        if len(self.shape) == 4:
            return self.shape[1] * self.shape[2] if self._channels_last else self.shape[2] * self.shape[3]
        return 1

    @property
    def _channels_last(self) -> bool:
        norm = isinstance(self.module, nn.LayerNorm) and self.shape[-1] == self.module.normalized_shape[-1]
        return norm or isinstance(self.module, nn.Linear)

    @property
    def weighted(self) -> bool:
        """Whether the module has parameters of its own."""
        return next(self.module.parameters(recurse=False), None) is not None


@contextmanager
def recording(model: nn.Module) -> Iterator[list[Run]]:
    """Every submodule that yields a tensor while the block runs, in the order in which they finish."""
    trace: list[Run] = []
    handles = []
    try:
        for name, module in model.named_modules():
            if name:
                handles.append(module.register_forward_hook(_recorder(name, trace)))
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def _recorder(name: str, trace: list[Run]) -> Callable[..., None]:
    def record(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            trace.append(Run(name, module, tuple(output.shape)))

    return record


def _is_map(module: nn.Module) -> bool:
    return not isinstance(module, PASSED_OVER) and "pool" not in type(module).__name__.lower()


def _once(run: Run, trace: list[Run]) -> bool:
    return sum(other.module is run.module for other in trace) == 1


def _last_by_extent(trace: list[Run]) -> dict[tuple[int, ...], Run]:
    """For each spatial size the last map of that size, in the order of the network; channels-last is told by its shape."""
    first = next((run.extent for run in trace if isinstance(run.module, nn.Conv2d) and run.extent), (1, 1))
    maps: dict[tuple[int, ...], Run] = {}
    for run in trace:
        if run.extent and _is_map(run.module) and _once(run, trace) and _same_shape(run.extent, first):
            maps.pop(run.extent, None)
            maps[run.extent] = run
    return maps


def _same_shape(extent: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether height to width is the same, but for rounding by one position."""
    (h, w), (height, width) = extent, other
    return abs(h * width - w * height) <= height + width


def _candidates(trace: list[Run]) -> str:
    maps = _last_by_extent(trace)
    if not maps:
        return "No module yields a map (n, k, h, w)."
    names = [f"{_plain(run.name)!r} ({h} x {w})" for (h, w), run in reversed(maps.items())]
    return f"Candidates: {', '.join(names[:8])}."


def _note(chosen: Run, trace: list[Run]) -> str:
    h, w = chosen.shape[2:]
    if min(h, w) >= SMALLEST_MAP:
        return ""
    note = f"target_layer: {_plain(chosen.name)!r} gives maps of only {h} x {w}"
    larger = [run for (h, w), run in _last_by_extent(trace).items() if min(h, w) >= SMALLEST_MAP]
    if not larger:
        return note
    h, w = larger[-1].shape[2:]
    return f"{note}; target_layer={_plain(larger[-1].name)!r} gives {h} x {w}"


def _plain(path: str) -> str:
    return re.sub(r"(^|\.)_orig_mod(?=\.|$)", "", path).removeprefix(".")
