"""One pass over the validation loaders."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning_cam.callbacks.collection import LoaderFacts


class Validation:
    """One pass over the validation loaders.

    Args:
        length: Batches of the watched loader that every rank has; None where nobody knows.
        facts: What the watched loader tells.
    """

    def __init__(self, length: int | None, facts: LoaderFacts) -> None:
        self.length, self.facts = length, facts
        self.has_looked = False
        self._error: Exception | None = None  # met on this rank; raised when all ranks are asked

    @property
    def has_failed(self) -> bool:
        """Whether a batch could not be read on this rank."""
        return self._error is not None

    @contextmanager
    def keeping_failure(self, *, has_probe: bool) -> Iterator[None]:
        """A batch that cannot be read: kept, as other ranks may have met nothing.

        Args:
            has_probe: Whether the probe is known; then a batch need not resemble it.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised when all ranks are asked
            if not (has_probe and isinstance(error, ValueError)):
                self._error = error

    def raise_failure(self) -> None:
        """Raises what was kept."""
        if self._error is not None:
            raise self._error

    def look(self) -> None:
        """It is looked at, once."""
        self.has_looked = True

    def is_last(self, batch_idx: int) -> bool:
        """Whether this is the last batch; where nobody knows which is, each may be."""
        return self.length is None or batch_idx + 1 == self.length
