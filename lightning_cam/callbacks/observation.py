"""What the user's own validation step gives the network, observed once a session: how batches are read and
the model is run from then on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.preserve import leaving_no_trace
from lightning_cam.attribution.running import is_compiled, runner, takes_index
from lightning_cam.attribution.submodule import plain, submodule_paths
from lightning_cam.attribution.task import AUTO, NONE, SIGMOID
from lightning_cam.callbacks.lightning import LightningModule, Trainer, unlogged
from lightning_cam.callbacks.settings import Settings
from lightning_cam.checks import Normalization
from lightning_cam.data.batch import Batch, read_batch, read_masks
from lightning_cam.data.observed_call import observed_call
from lightning_cam.data.observed_choice import Preferences
from lightning_cam.data.observed_facts import UNSEEN, ObservedCall
from lightning_cam.data.observed_step import StepObserver
from lightning_cam.data.observed_words import DENSE, UNSEEN_NETWORK, disagreement
from lightning_cam.data.reading import Reading, reading_of, reading_of_function
from lightning_cam.data.received import (
    as_labels,
    batch_before,
    labels_of,
    of_observed_batch,
    of_parts,
    of_step,
    reads_parts,
)
from lightning_cam.data.replay import ReplayCheck, check_replay, check_scores, observed_scores
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
        self._seen: ObservedCall | None = None  # holds one batch, as long as others are read like it
        self._run: RunAgain | None = None
        self._normalization: Normalization | None = None  # that of the step itself
        self.has_seen = False  # which network runs on which images
        self.task = settings.task  # a key of TASKS, or "auto" where nothing tells
        self.batch_size: int | None = None  # of images whose answers depend on each other; else None
        self.reading: Reading | None = None  # None until a batch was observed

    def begin_batch(self, *, is_wanted: bool) -> bool:
        """Whether this batch is observed; then it is read when its step is over.

        Args:
            is_wanted: Whether it is to be read: else one batch a session is enough.
        """
        if self._observer is not None or self._seen is not None:
            return False
        if self.reading is not None and (not is_wanted or self.reading.explained == COMPILED):
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
        if callable(self._settings.config.target):  # that reads scores of places as it wants
            seen = replace(seen, sentences=tuple(said for said in seen.sentences if said != DENSE))
        self._seen, self.has_seen = seen, seen.way != UNSEEN
        says_labels = self._settings.inputs.labels is not None
        # Where the step compares with no label, those that the user names tell the task.
        if self.task == AUTO and (self.has_seen or seen.label is not None):
            self.task = AUTO if seen.task == NONE.name and says_labels else seen.task
        self._normalization = _normalization(seen)
        found = self._batch(batch_before(seen), *of_observed_batch(seen))
        if self.task == AUTO and self.has_seen and found.labels is None:
            self.task = seen.task  # the user's function says that there are none
        said = [disagreement(seen, found.labels) if says_labels else "", self._other_task(seen)]
        if self._has_function:
            self.reading = reading_of_function(seen, self._compared(seen, found.images), self.task, said)
            return found
        check = check_replay(seen, self._module, self._context) if self.has_seen else None
        if check is not None:
            self._run = run_again(seen, found.images)
            self.batch_size = None if check.rows_are_independent else check.count
        self.reading = reading_of(seen, check, self.task, said)
        return found

    def release(self) -> None:
        """No other batch will be read."""
        self._seen = None

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
        if seen.way != UNSEEN and not reads_parts(seen):
            return self._batch(batch, *of_step(seen, self._module, batch, self._context))
        try:
            found = (None, labels_of(seen, batch)) if seen.way == UNSEEN else of_parts(seen, batch)
        except (KeyError, IndexError, TypeError):
            raise ValueError(
                "images: this batch is built otherwise than the one that was observed; say where they are "
                "with Inputs(images=..., labels=...)."
            ) from None
        return self._batch(batch, *found)

    def model_config(self, config: ModelConfig, images: Images) -> ModelConfig:
        """How the model is run and read.

        Args:
            images: The probe's.
        """
        run, own = self._run, self._settings.inputs.scores
        if run is None:
            return replace(config, task=self.task)
        return replace(
            config,
            network=run.network(images),
            scores=run.read if own is None else own,
            task=self.task,
            activation=SIGMOID if run.are_probabilities else "",
        )

    def normalization(self, of_loader: Normalization | None) -> Normalization | None:
        """How to undo, for display, what lies between a file and the network.

        Args:
            of_loader: What the dataset's transforms do, before the step.
        """
        return of_loader if self._normalization is None else composed(self._normalization, of_loader)

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

    def _other_task(self, seen: ObservedCall) -> str:
        """That the user's own word for the task is another one than his loss shows; "" where it is not."""
        own = self._settings.task
        if own in (AUTO, seen.task) or seen.loss is None:
            return ""
        return f"task: yours is {own!r}, and your {seen.loss} shows {seen.task!r}; yours counts"

    def _compared(self, seen: ObservedCall, images: Images) -> ReplayCheck | None:
        """The user's own function beside what the step gave; None where that cannot be compared."""
        if observed_scores(seen) is None:
            return None
        own = runner(self._module, self._settings.network)
        index = torch.arange(len(images), device=images.device)
        how = self._settings.inputs.scores

        def scores(some: Images, rows: Tensor | None) -> Tensor:
            arguments = (some, index[: len(some)]) if takes_index(own) else (some,)
            output = own(self._module, *arguments)
            return output if how is None else pick(output, how, "scores")

        return check_scores(seen, scores, images, self._context)


def _normalization(seen: ObservedCall) -> Normalization | None:
    """Of images in [0, 1], or of bytes."""
    if seen.normalization is None or seen.image_part is None:
        return None
    levels = 1.0 if seen.record.parts.originals[seen.image_part].is_floating_point() else 255.0
    mean, std = ((each / levels).tolist() for each in seen.normalization)
    return tuple(mean), tuple(std)


def composed(later: Normalization, earlier: Normalization | None) -> Normalization:
    """Mean and standard deviation of two normalizations, one after the other: ``(x - m) / s`` of both."""
    if earlier is None or len(earlier[0]) not in (1, len(later[0])):
        return later  # of other channels
    (mean, std), (first_mean, first_std) = later, earlier
    if len(first_mean) == 1:
        first_mean, first_std = first_mean * len(mean), first_std * len(std)
    means = tuple(m * s + f for m, s, f in zip(mean, first_std, first_mean, strict=True))
    return means, tuple(s * f for s, f in zip(std, first_std, strict=True))
