"""What is asked of a model, checked before anything runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning_cam.attribution.methods.table import METHODS, Method
from lightning_cam.attribution.network import Forward
from lightning_cam.attribution.targets import Target, check_target
from lightning_cam.checks import Normalization, check_normalization
from lightning_cam.registry import choose
from lightning_cam.selectors import Selector, check_selector
from lightning_cam.typing import Cams

MethodLike = Callable[..., Cams]  # (evidence) -> cams: a row of METHODS, a partial of one, or the user's own


@dataclass(frozen=True)
class ExplainConfig:
    """What is asked of a model: all but the images. Arguments as in ``explain``.

    Args:
        confusions: Of so many images, the first, the map of the label is set against that of the predicted class,
            where they differ.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument's value cannot be used.
    """

    method: str | MethodLike | Sequence[str | MethodLike] = "gradcam"
    target: str | int | Target = "predicted"
    target_layer: str | Sequence[str] | None = None
    forward: Forward | None = None
    scores: Selector = None
    normalization: str | Normalization | None = None
    max_batch: int | None = None
    confusions: int = 0

    def __post_init__(self) -> None:
        several = len(self.method) if isinstance(self.method, list | tuple) else 1
        if not several:
            raise ValueError("method: got an empty list; give at least one method.")
        if len(self.methods) < several:
            raise ValueError(
                f"method: of {several} methods some share a name; give functions names of their own."
            )
        check_target(self.target)
        check_selector("scores", self.scores)
        if not (
            self.target_layer is None or all(isinstance(name, str) for name in self.layer_names or [None])
        ):
            raise TypeError(
                f"target_layer: got {self.target_layer!r}; give the name of a submodule, such as 'layer4', a list of such, or None."
            )
        if not (self.forward is None or callable(self.forward)):
            raise TypeError(
                f"forward: got {self.forward!r}; give a function (module, images) -> output, or None."
            )
        check_normalization(self.normalization)
        if self.max_batch is not None and (
            isinstance(self.max_batch, bool) or not isinstance(self.max_batch, int)
        ):
            raise TypeError(f"max_batch: got {self.max_batch!r}; give a whole number, or None.")
        if self.max_batch is not None and self.max_batch < 1:
            raise ValueError(f"max_batch: got {self.max_batch}; give at least 1, or None.")

    @property
    def methods(self) -> dict[str, MethodLike]:
        """The methods by name."""
        several: Sequence[Any] = self.method if isinstance(self.method, list | tuple) else [self.method]
        return {name_of(method): choose(METHODS, method, "method") for method in several}

    @property
    def layer_names(self) -> list[Any]:
        """The layers that are named, none where the layer is to be found."""
        several = self.target_layer if isinstance(self.target_layer, list | tuple) else [self.target_layer]
        return [] if self.target_layer is None else list(dict.fromkeys(several))

    @property
    def words(self) -> str:
        """The question in words, to tell it from another."""
        return f"{', '.join(self.methods)} at {' + '.join(self.layer_names) or 'the last layer'}, target {self.target_name}"

    @property
    def has_target(self) -> bool:
        """Whether any of the maps is that of a target."""
        return any(row_of(method).of_target for method in self.methods.values())

    @property
    def finds_confusions(self) -> bool:
        """Whether maps of two classes come from one forward: the target is the label, and one backward makes
        a map.
        """
        rows = [row_of(method) for method in self.methods.values()]
        return (
            self.confusions > 0
            and self.target == "label"
            and all(row.gradients and row.passes == "none" for row in rows)
        )

    @property
    def target_name(self) -> str:
        """The target in a word or two."""
        return f"class {self.target}" if isinstance(self.target, int) else name_of(self.target)


def row_of(method: MethodLike) -> Method:
    """The row of METHODS that a method is, or is a partial of; a function of the user's own gets a row of its
    own.
    """
    inner = method.func if isinstance(method, partial) else method
    return inner if isinstance(inner, Method) else Method(inner, "", False, "", "")


def name_of(function: str | Callable) -> str:
    """The name of a row, of a function, or of a partial with its options."""
    if isinstance(function, partial):
        options = ", ".join(f"{key}={value!r}" for key, value in function.keywords.items())
        return f"{name_of(function.func)}({options})"
    if isinstance(function, str):
        return function
    known = [name for name, row in METHODS.items() if row is function]
    return known[0] if known else getattr(function, "__name__", type(function).__name__)
