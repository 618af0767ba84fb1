"""Features of cues, taken from the validation batches that pass by, and what they tell of the label."""

from collections.abc import Callable, Mapping

from lightning_cam.attribution.task import REGRESSION
from lightning_cam.callbacks.schedule import Work
from lightning_cam.data.batch import Batch
from lightning_cam.distributed import Ranks
from lightning_cam.shortcuts.cues import Cue
from lightning_cam.shortcuts.predictivity import CueFeatures, Predictivity, told_of

MOST_VALUES = 2**22  # of images whose features are made at once
Told = dict[int, dict[str, Predictivity]]  # by label's column, and cue


class CueSample:
    """What one fit takes of one whole validation to measure how well each cue tells the label.

    Args:
        cues: Those that are tested.
        warn: Tells the user a note, each once.
    """

    def __init__(self, cues: Mapping[str, Cue], warn: Callable[[str], None]) -> None:
        self._cues, self._warn = cues, warn
        self._features: CueFeatures | None = None  # of one whole validation, on this rank
        self._is_complete = False
        self._failure: Exception | None = None  # met on this rank; raised on all
        self._told: Told | None = None
        self.is_taking = False  # from the batches that pass by

    @property
    def work(self) -> Work | None:
        """What a batch costs the training; None where nothing is taken of it."""
        return Work.FEATURES if self.is_taking else None

    @property
    def is_released(self) -> bool:
        """Whether no features are held."""
        return self._features is None

    def begin(self) -> None:
        """A whole validation of a fit begins."""
        if self._cues and not self._is_complete:
            self._features, self._failure, self.is_taking = CueFeatures(self._cues), None, True

    def end(self) -> None:
        """A validation, not the sanity check, has passed by: its features are complete on this rank."""
        self._is_complete = self._is_complete or self._features is not None
        self.is_taking = False

    def take(self, found: Batch, task: str) -> None:
        """Takes features of a batch. Never raises: an error is told at the look, on all ranks.

        Args:
            task: A key of ``TASKS``, or "auto".
        """
        features, images, labels, masks = self._features, found.images, found.labels, found.masks
        if features is None or not self.is_taking or labels is None or images.ndim != 4:
            return
        if task == REGRESSION.name or (labels.ndim == 1 and labels.is_floating_point()):
            return
        each = max(1, MOST_VALUES // images[0].numel())
        try:
            for start in range(0, len(images), each):
                part = slice(start, start + each)
                features.add(images[part], labels[part], None if masks is None else masks[part])
        except Exception as error:  # noqa: BLE001 - of the user's data, or of a cue of the user's own
            # Without the frames, which hold the batch.
            self._failure, self._features = error.with_traceback(None), CueFeatures(self._cues)
            self.is_taking = False

    def told(self, ranks: Ranks, classes: int) -> Told | None:
        """How well each cue tells the class, under 0, or each of several labels, by its column; None while no
        whole validation has passed by. Made once, by a collective, which fails together.

        Args:
            classes: How many the model tells apart.

        Raises:
            Exception: What a rank met when it took features.
        """
        if self._told is None and self._is_complete:
            whole = ranks.together(self._own).over(ranks)
            # Rank zero's: others may differ in rounding, and would ask the model about other cues.
            self._told = ranks.from_zero(lambda: told_of(whole, classes))
            self._features = None
            if whole.skipped:
                self._warn(
                    f"{whole.skipped} images differ in size from the first one and are left out where it is "
                    "measured how well each cue tells the label"
                )
        return self._told

    def _own(self) -> CueFeatures:
        if self._failure is not None:
            raise self._failure
        return self._features or CueFeatures(self._cues)
