"""What the user's own validation step gives the network, observed once a session: how batches are read and
the model is run from then on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor

from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.preserve import leaving_no_trace
from lightning_cam.attribution.running import is_compiled
from lightning_cam.attribution.submodule import plain, submodule_paths
from lightning_cam.attribution.task import AUTO
from lightning_cam.callbacks.lightning import LightningModule, Trainer, unlogged
from lightning_cam.callbacks.settings import Settings
from lightning_cam.data.batch import Batch, read_batch, read_masks
from lightning_cam.data.observed_call import observed_call
from lightning_cam.data.observed_choice import Preferences
from lightning_cam.data.observed_facts import UNSEEN, ObservedCall
from lightning_cam.data.observed_step import StepObserver
from lightning_cam.data.observed_words import UNSEEN_NETWORK, disagreement
from lightning_cam.data.reading import Reading, reading_of
from lightning_cam.data.received import (
    as_labels,
    batch_before,
    labels_of,
    of_observed_batch,
    of_parts,
    of_step,
    reads_parts,
)
from lightning_cam.data.replay import ReplayCheck, check_replay
from lightning_cam.data.run_again import RunAgain, run_again
from lightning_cam.selectors import pick
from lightning_cam.typing import Images

COMPILED = (
    f"{UNSEEN_NETWORK}: it is compiled, and to observe it outside of the sanity check would change your "
    "metrics by rounding. Trainer(num_sanity_val_steps=2) lets it be observed"
)


class Observation:
    """Observes the first watched batch of a session.

    Args:
        settings: What the user said; it wins, and is compared with what is seen.
        trainer: Knows the precision.
        pl_module: Whose ``validation_step`` is observed.
    """

    def __init__(self, settings: Settings, trainer: Trainer, pl_module: LightningModule) -> None:
        self._settings, self._trainer, self._module = settings, trainer, pl_module
        self._observer: StepObserver | None = None
        self._seen: ObservedCall | None = None  # holds one batch
        self._check: ReplayCheck | None = None
        self._run: RunAgain | None = None
        self.reading: Reading | None = None  # None until a batch was observed

    def begin_batch(self) -> bool:
        """Whether this is the batch that is observed; then it is read when its step is over."""
        if self.reading is not None or self._observer is not None:
            return False
        if is_compiled(self._module) and not self._trainer.sanity_checking:
            self.reading = Reading(COMPILED)
            return False
        self._observer = StepObserver(self._module)
        self._observer.install()
        return True

    def end_batch(self) -> Batch | None:
        """The observed batch, as it was before the step; None where this batch was not observed.

        Raises:
            ValueError: It cannot be read.
        """
        observer, self._observer = self._observer, None
        if observer is None:
            return None
        observer.remove()
        if observer.record is None:  # the step was not called
            return None
        seen = observed_call(observer.record, self._preferences())
        self._seen = seen
        if self._runs_own:
            self._check = check_replay(seen, self._module, self._context)
        found = self._batch(batch_before(seen), *of_observed_batch(seen))
        if self._runs_own:
            self._run = run_again(seen, found.images)
        self.reading = reading_of(seen, self._check, self.task, self._comparisons(seen, found))
        return found

    def read(self, batch: Any) -> Batch | None:
        """Images, labels and masks of another batch; None where only the observed one will do.

        Raises:
            ValueError: The batch cannot be read.
        """
        seen = self._seen
        if self._run is not None and self._run.needs_its_rows:
            return None
        if seen is None:
            return self._batch(batch, None, None)
        try:
            if seen.way == UNSEEN:
                return self._batch(batch, None, labels_of(seen, batch))
            if reads_parts(seen):
                return self._batch(batch, *of_parts(seen, batch))
        except (KeyError, IndexError, TypeError):
            raise ValueError(
                "images: this batch is built otherwise than the one that was observed; say where they are "
                "with Inputs(images=..., labels=...)."
            ) from None
        return self._batch(batch, *of_step(seen, self._module, batch, self._context))

    @property
    def task(self) -> str:
        """A key of ``TASKS``: the user's own word, else what was observed; "auto" where nothing was."""
        seen, own = self._seen, self._settings.task
        return (
            own if own != AUTO or seen is None or (seen.way == UNSEEN and seen.label is None) else seen.task
        )

    def model_config(self, config: ModelConfig, images: Images) -> ModelConfig:
        """How the model is run and read.

        Args:
            images: The probe's.
        """
        run, own = self._run, self._settings.inputs.scores
        if run is None:
            return config
        return replace(config, network=run.network(images), scores=run.read if own is None else own)

    @property
    def has_seen(self) -> bool:
        """Whether it was seen which network runs on which images."""
        return self._seen is not None and self._seen.way != UNSEEN

    @property
    def batch_size(self) -> int | None:
        """How many images have to be sent at once, where their answers depend on each other; else None."""
        check = self._check
        return None if check is None or check.rows_are_independent else check.count

    @property
    def _runs_own(self) -> bool:
        """Whether what was observed is run, and no function or name of the user's own."""
        return self.has_seen and not self._has_function

    @property
    def _has_function(self) -> bool:
        network = self._settings.network
        return network is not None and not (
            isinstance(network, str) and plain(network) in submodule_paths(self._module)
        )

    def _preferences(self) -> Preferences:
        settings = self._settings
        network = settings.network if isinstance(settings.network, str) and not self._has_function else None
        names = settings.names
        return Preferences(
            network=network,
            scores=settings.inputs.scores,
            images=settings.inputs.images,
            classes=None if names is None else len(names),
        )

    @contextmanager
    def _context(self) -> Iterator[None]:
        with (
            self._trainer.precision_plugin.forward_context(),
            unlogged(self._module),
            leaving_no_trace(self._module),
        ):
            yield

    def _batch(self, batch: Any, images: Tensor | None, labels: Tensor | None) -> Batch:
        """What was found, where the user does not say otherwise; what was not found, by names and shapes."""
        inputs, seen = self._settings.inputs, self._seen
        if images is None or callable(inputs.images):
            found = read_batch(batch, inputs.images, inputs.labels, inputs.masks)
            if inputs.labels is not None or seen is None or (seen.way == UNSEEN and labels is None):
                return found
            return replace(found, labels=as_labels(labels, self.task, len(found.images)))
        if inputs.labels is not None:
            labels = pick(batch, inputs.labels, "labels")
        return Batch(
            images.detach(),
            as_labels(labels, self.task, len(images)),
            read_masks(batch, images, inputs.masks),
        )

    def _comparisons(self, seen: ObservedCall, found: Batch) -> tuple[str, ...]:
        """Where the user's own arguments differ from what was seen."""
        said = []
        if self._settings.inputs.labels is not None:
            said.append(disagreement(seen, found.labels))
        return tuple(filter(None, said))
