"""Which parts of a batch, and which calls of networks, each tensor of a running step derives from."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from lightning_cam.data.nested import Path, leaves

Output = tuple[int, Path]  # the number of a call, and the place in what it returned

# These change how a number is written, not which image and class it belongs to.
KEEPING = frozenset(
    {"float", "double", "half", "bfloat16", "to", "type", "type_as", "cpu", "cuda", "as_subclass"}
)
KEEPING |= {
    "contiguous",
    "clone",
    "detach",
    "squeeze",
    "unsqueeze",
    "view",
    "view_as",
    "reshape",
    "reshape_as",
}
KEEPING |= {"flatten", "ravel", "__getitem__", "select"}
SCALING = frozenset({"mul", "__mul__", "__rmul__", "div", "__truediv__", "true_divide"})
ACTIVATIONS = frozenset({"sigmoid", "expit", "softmax", "log_softmax", "logsigmoid"})


class Origin(NamedTuple):
    """What a tensor derives from."""

    parts: frozenset[Path] = frozenset()  # of the batch
    calls: frozenset[int] = frozenset()  # of modules with parameters
    outputs: frozenset[Output] = frozenset()


NOWHERE = Origin()


def joined(origins: Iterable[Origin]) -> Origin:
    """All that any of them derives from."""
    known = [origin for origin in origins if origin is not NOWHERE]
    if not known:
        return NOWHERE
    if len(known) == 1:
        return known[0]
    return Origin(*(frozenset().union(*some) for some in zip(*known, strict=True)))


class Derivation(TorchFunctionMode):
    """Follows tensors through torch's functions by weak references, and changes nothing.

    ``same`` tells which output of which call a tensor *is*, but for its shape, dtype, scale and the
    activations that were applied to it.

    Args:
        seen: Called after each function with its name, arguments and result.
    """

    def __init__(self, seen: Callable[[str, tuple, dict[str, Any], Any], None]) -> None:
        super().__init__()
        self._seen = seen
        self._is_deaf = False
        self.error: Exception | None = None
        self._origins: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._same: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def origin(self, *things: Any) -> Origin:
        """What the tensors in ``things`` derive from."""
        return joined(self._origins.get(tensor, NOWHERE) for _, tensor in leaves(things))

    def same(self, tensor: Any) -> dict[Output, tuple[str, ...]]:
        """The outputs that ``tensor`` is, each with the activations that were applied to it."""
        return self._same.get(tensor, {}) if isinstance(tensor, Tensor) else {}

    def mark(self, thing: Any, origin: Origin) -> None:
        """Notes that the tensors in ``thing`` derive from ``origin`` too."""
        if origin is not NOWHERE:
            for _, tensor in leaves(thing):
                self._origins[tensor] = joined([self._origins.get(tensor, NOWHERE), origin])

    def mark_output(self, tensor: Tensor, output: Output) -> None:
        """Notes that ``tensor`` is this output of a call."""
        self._same[tensor] = {**self.same(tensor), output: ()}

    @contextmanager
    def noting(self) -> Iterator[None]:
        """What we compute is no part of the step, nor may it break it."""
        before, self._is_deaf = self._is_deaf, True
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a user's tensor cannot do: he reads of it later
            self.error = error
        finally:
            self._is_deaf = before

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls the function; then notes what its result derives from."""
        kwargs = kwargs or {}
        if self._is_deaf or self.error is not None:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        result = func(*args, **kwargs)
        with self.noting():
            origin = self.origin(args, kwargs)
            if origin is not NOWHERE:
                self.mark(result, origin)
                if name == "__setitem__" or (name.endswith("_") and not name.endswith("__")):
                    self.mark(args[:1], origin)  # written in place
                self._keep_identity(name, args, kwargs, result)
            self._seen(name, args, kwargs, result)
        return result

    def _keep_identity(self, name: str, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        source = next((arg for arg in args if isinstance(arg, Tensor)), None)
        outputs = self.same(source)
        in_place = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
        if source is None or not outputs or not (isinstance(result, Tensor) or in_place):
            return
        if result is source and not in_place:
            return
        plain = name.removesuffix("_") if in_place else name
        others = [arg for arg in (*args, *kwargs.values()) if arg is not source]
        holds_tensors = any(True for _ in leaves(others))
        keeps_size = isinstance(result, Tensor) and result.numel() == source.numel()
        if keeps_size and not holds_tensors and plain in ACTIVATIONS:
            self._same[result] = {output: (*before, plain) for output, before in outputs.items()}
        elif keeps_size and not holds_tensors and (plain in KEEPING or _scales(plain, others)):
            self._same[result] = dict(outputs)
        elif in_place:
            self._same[source] = {}  # other numbers stand there now


def _scales(name: str, others: list[Any]) -> bool:
    return name in SCALING and all(isinstance(other, int | float) and other > 0 for other in others)
