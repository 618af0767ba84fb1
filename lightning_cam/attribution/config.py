"""What is asked of a model, and how the model is run and read: checked before anything runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from lightning_cam.attribution.methods.table import METHODS, Method
from lightning_cam.attribution.resolved_target import PlainTarget, check_target, resolve_class_name
from lightning_cam.attribution.targets import Target
from lightning_cam.attribution.task import AUTO, SIGMOID, check_task
from lightning_cam.checks import Normalization, check_normalization, check_whole
from lightning_cam.registry import choose
from lightning_cam.selectors import Selector, check_selector
from lightning_cam.typing import Cams

MethodLike = Callable[..., Cams]  # (evidence) -> cams: a row of METHODS, a partial of one, or the user's own
TargetLike = str | int | Target | Sequence[int] | Tensor  # a sequence or a tensor: one class per image
Forward = Callable[..., Any]  # (model, images) -> output, or (model, images, index): which image each row is


@dataclass(frozen=True)
class ModelConfig:
    """How to run a model, and how to read what it answers.

    Args:
        network: What is run: a function ``(model, images) -> output``, or ``(model, images, index)``, which
            is told which image each row is; the name of a submodule, which is then run alone; or None, which
            calls the model. A name that no submodule has may be a function's import path.
        scores: How to read scores (n, C) from the output: key, index or function; None finds them.
        max_batch: Most images sent through the model at once; None leaves it to the caller.
        task: A key of ``TASKS``, which says what scores and labels mean; "auto" decides by the labels, the
            outputs and the network's last operation.
        activation: What ends the network: "sigmoid", which is undone for classes, as scores are logits; ""
            where nothing is to be undone; "auto" looks for it in the graph, where there is one.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument's value cannot be used.
    """

    network: str | Forward | None = None
    scores: Selector = None
    max_batch: int | None = None
    task: str = AUTO
    activation: str = AUTO

    def __post_init__(self) -> None:
        kinds = "give the name of a submodule, a function (model, images) -> output, or None"
        if not (self.network is None or isinstance(self.network, str) or callable(self.network)):
            raise TypeError(f"network: got {self.network!r}; {kinds}.")
        if isinstance(self.network, nn.Module):
            # It can be called, but not as a function of the model; and its layers need names in the model.
            raise TypeError(f"network: got a {type(self.network).__name__}; {kinds}.")
        if self.network == "":
            raise ValueError(f"network: got an empty name; {kinds}.")
        check_selector("scores", self.scores)
        if self.max_batch is not None:
            check_whole("max_batch", self.max_batch, 1, "or None")
        check_task(self.task)
        if self.activation not in (AUTO, SIGMOID, ""):
            raise ValueError(f"activation: got {self.activation!r}; give 'auto', 'sigmoid' or ''.")


@dataclass(frozen=True)
class ExplainConfig:
    """What is asked of a model: all but the images. Arguments as in ``explain``.

    Args:
        target: One class per image becomes a tuple of whole numbers, whatever it was given as. A text that
            is no key of ``TARGETS`` is the name of a class, which ``named`` looks up.
        model: How to run and read the model.
        confusions: For this many images, the first ones, the map of the label is compared with that of the
            predicted class, where the two differ; of several labels each has a map of its own.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument's value cannot be used.
    """

    method: str | MethodLike | Sequence[str | MethodLike] = "gradcam"
    target: TargetLike = "predicted"
    target_layer: str | Sequence[str] | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    normalization: str | Normalization | None = None
    confusions: int = 0

    def __post_init__(self) -> None:
        # A dict by name holds the methods later, so two functions of one name would become one.
        several = len(self.method) if isinstance(self.method, list | tuple) else 1
        if not several:
            raise ValueError("method: got an empty list; give at least one method.")
        if len(self.methods) < several:
            raise ValueError(
                f"method: of {several} methods some share a name; give functions names of their own."
            )
        if not (
            self.target_layer is None or all(isinstance(name, str) for name in self.layer_names or [None])
        ):
            raise TypeError(
                f"target_layer: got {self.target_layer!r}; give the name of a submodule, such as 'layer4', "
                "a list of such, or None."
            )
        if not isinstance(self.model, ModelConfig):
            raise TypeError(f"model: got {type(self.model).__name__}; give a ModelConfig.")
        check_normalization(self.normalization)
        # Frozen: the plain form, which can be compared and sliced, is set once, here.
        object.__setattr__(self, "target", check_target(self.target, may_be_class=True))

    def named(self, class_names: Sequence[str] | None) -> "ExplainConfig":
        """The same, a class that is named as its index.

        Raises:
            ValueError: No such class; the message names the closest one.
        """
        return replace(self, target=resolve_class_name(self.target_of(slice(None)), class_names))

    @property
    def methods(self) -> dict[str, MethodLike]:
        """The methods by name."""
        several: Sequence[Any] = self.method if isinstance(self.method, list | tuple) else [self.method]
        return {readable_name(method): choose(METHODS, method, "method") for method in several}

    @property
    def layer_names(self) -> list[Any]:
        """The layers that are named, none where the layer is to be found."""
        several = self.target_layer if isinstance(self.target_layer, list | tuple) else [self.target_layer]
        return [] if self.target_layer is None else list(dict.fromkeys(several))

    @property
    def description(self) -> str:
        """Method, layer and target in a line, which differs wherever two looks cannot be compared."""
        layers = " + ".join(self.layer_names) or "the last layer"
        given = self.target_of(slice(None))
        target = f"classes {list(given)}" if isinstance(given, tuple) else self.target_name
        return f"{', '.join(self.methods)} at {layers}, target {target}"

    @property
    def has_target(self) -> bool:
        """Whether any of the maps is that of a target."""
        return any(method_row(method).of_target for method in self.methods.values())

    @property
    def finds_confusions(self) -> bool:
        """Whether maps of several classes come from one forward: the target is the label, and one backward
        makes a map.
        """
        rows = [method_row(method) for method in self.methods.values()]
        return (
            self.confusions > 0
            and self.target == "label"
            and all(row.gradients and row.passes == "none" for row in rows)
        )

    @property
    def target_name(self) -> str:
        """The target in a word or two."""
        if isinstance(self.target, tuple):
            return "one class per image"
        return f"class {self.target}" if isinstance(self.target, int) else readable_name(self.target)

    def target_of(self, some: slice) -> PlainTarget:
        """The target of some of the images: of one class per image only theirs."""
        target: Any = self.target  # plain since __post_init__
        return target[some] if isinstance(target, tuple) else target


def method_row(method: MethodLike) -> Method:
    """The row of METHODS that a method is, or is a partial of; a function of the user's own gets a row of its
    own.
    """
    inner = method.func if isinstance(method, partial) else method
    return inner if isinstance(inner, Method) else Method(inner, "", False, "", "")


def readable_name(method_or_target: Any) -> str:
    """The name of a row, of a function, or of a partial with its options."""
    if isinstance(method_or_target, partial):
        options = ", ".join(f"{key}={value!r}" for key, value in method_or_target.keywords.items())
        return f"{readable_name(method_or_target.func)}({options})"
    if isinstance(method_or_target, str):
        return method_or_target
    known = [name for name, row in METHODS.items() if row is method_or_target]
    return known[0] if known else getattr(method_or_target, "__name__", type(method_or_target).__name__)
