"""The rehearsal: the whole way of a look on the sanity check's images, before anything was trained."""

from lightning_cam.callbacks.collection import Collection
from lightning_cam.callbacks.publisher import Publisher, scene_of
from lightning_cam.callbacks.runner import Runner
from lightning_cam.callbacks.settings import Settings
from lightning_cam.callbacks.state import Run
from lightning_cam.checks import Normalization
from lightning_cam.data.history import History, Look
from lightning_cam.data.probe import Probe
from lightning_cam.distributed import Ranks
from lightning_cam.explanation import Explanation


class Rehearsal:
    """Looks, draws and tells nobody; the untrained look is kept.

    Args:
        settings: What was asked.
        run: Its record gets the untrained look, where the probe is known.
        ranks: The processes that look together.
        collection: Has the images, and keeps the untrained look at those that may join the probe.
        runner: Looks.
        publisher: Draws.
    """

    def __init__(
        self,
        settings: Settings,
        run: Run,
        ranks: Ranks,
        collection: Collection,
        runner: Runner,
        publisher: Publisher,
    ) -> None:
        self._settings, self._run, self._ranks = settings, run, ranks
        self._collection, self._runner, self._publisher = collection, runner, publisher

    def hold(
        self, names: tuple[str, ...] | None, normalization: Normalization | None, *, is_untrained: bool
    ) -> None:
        """A collective, which fails together.

        Args:
            is_untrained: Whether this is the model before any training, whose look is kept.
        """
        known = self._run.record.probe
        probe, serials = (
            (known, [])
            if known is not None
            else self._collection.candidates(self._ranks, names, rehearsal=True)
        )
        explanation = self._runner.explain(probe, self._collection.batch_size, normalization)
        look = self._ranks.from_zero(lambda: self._drawn(explanation, probe))
        if not is_untrained:
            return
        if known is None:
            self._collection.rehearse(look, serials)
        else:
            self._run.record.start(look)

    def _drawn(self, explanation: Explanation, probe: Probe) -> Look:
        names, classes = self._settings.names, explanation.scores.shape[1]
        if names is not None and len(names) != classes:
            raise ValueError(
                f"class_names: got {len(names)} names for the model's {classes} classes; give one per class."
            )
        look = self._runner.untrained(explanation, probe)
        history = History().added(look)
        self._publisher.rehearse(
            scene_of(explanation, probe, history, self._settings, when="rehearsal", in_fit=True)
        )
        return look
