"""One pass over the validation loaders."""

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

    def fail(self, error: Exception) -> None:
        """A batch could not be read: kept, as other ranks may have met nothing."""
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
