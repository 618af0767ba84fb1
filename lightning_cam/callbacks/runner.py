"""How a look is made of a module in training: its layers, its precision, and batches that memory has room
for.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from lightning_cam.attribution.capture import predicting
from lightning_cam.attribution.closeness import LayerNote, closeness_note
from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.place import place
from lightning_cam.attribution.running import like, runner
from lightning_cam.attribution.target_layer import TargetLayer
from lightning_cam.attribution.task import NONE, REGRESSION, TASKS, OutputReading
from lightning_cam.callbacks.lightning import LightningModule, Trainer, forward_through, unlogged
from lightning_cam.callbacks.messages import Messages, misnamed_note, undrawn_note
from lightning_cam.callbacks.observation import Observation
from lightning_cam.callbacks.settings import Settings
from lightning_cam.checks import Normalization
from lightning_cam.data.dataset import fitting_names
from lightning_cam.data.history import History, Look, remember
from lightning_cam.data.probe import Probe
from lightning_cam.devices import free_memory, is_out_of_memory
from lightning_cam.distributed import Ranks
from lightning_cam.explainer import answer, find_layers
from lightning_cam.explanation import Explanation
from lightning_cam.metrics.statistics import MapContext, measure
from lightning_cam.report.record import RunRecord
from lightning_cam.shortcuts.pairing import Ask
from lightning_cam.typing import Images

T = TypeVar("T")
UNLABELED = (NONE.name, REGRESSION.name)  # tasks whose maps need no label
USUAL_BATCH = 16  # images at once, where neither the user nor the validation says


class Runner:
    """Looks at one module during one fit.

    Args:
        settings: What is asked.
        trainer: Knows the precision, and how the strategy runs the module.
        pl_module: The module.
        ranks: The processes that look together.
        observation: Knows how the user's validation step runs the module.
        messages: Takes notes for the user.
    """

    def __init__(
        self,
        settings: Settings,
        trainer: Trainer,
        pl_module: LightningModule,
        ranks: Ranks,
        observation: Observation,
        messages: Messages,
    ) -> None:
        self._settings, self._trainer, self._module = settings, trainer, pl_module
        self._ranks, self._observation, self._messages = ranks, observation, messages
        self._layers: list[TargetLayer] | None = None
        self._read: OutputReading | None = None  # how the first look read the network's outputs
        self._has_noted_layers = False
        self._room = sys.maxsize  # the largest batch that memory has room for, once it ran out

    def explain(
        self, probe: Probe, batch_size: int | None, normalization: Normalization | None
    ) -> Explanation:
        """The maps of the probe: a collective, which fails together.

        Args:
            batch_size: The validation's.
            normalization: How to undo it for display.
        """
        explanation = self.where_it_fits(batch_size, lambda batch: self._explain(probe, batch, normalization))
        names, columns = probe.class_names, explanation.scores.shape[1]
        misnamed = names if self._settings.names is None and names != fitting_names(names, columns) else None
        for note in (*explanation.notes, *([misnamed_note(misnamed, columns)] if misnamed else [])):
            self._messages.warn(note)
        self._messages.tell(undrawn_note(names or ()))
        return explanation

    def note_layers_once(self, record: RunRecord, images: Images, batch_size: int | None) -> None:
        """Keeps and tells what ``layer_notes`` finds at the first look of a model that may be trained: at
        random weights nothing says which branch will matter. What fails here takes nothing else with it.
        """
        if self._has_noted_layers:
            return
        self._has_noted_layers = True
        try:
            found = self.layer_notes(images, batch_size)
        except Exception as error:  # noqa: BLE001 - the user's network may raise anything; on all ranks alike
            self._messages.warn(
                "it could not be checked whether the layer carries the scores and where its map lies "
                f"({type(error).__name__}: {error}); looks go on"
            )
            return
        notes = self._ranks.from_zero(lambda: found)
        record.note(notes)
        for note in notes:
            if note.is_fault:
                self._messages.warn(note.sentence)

    def layer_notes(self, images: Images, batch_size: int | None) -> list[LayerNote]:
        """Whether the layers carry the scores, and whether their maps lie where the image is: a collective,
        which fails together. Where all is well it is empty.

        Args:
            images: The probe's.
            batch_size: The validation's.
        """
        layers = self._layers or []

        def ask(batch: int) -> list[LayerNote]:
            config = self._model(images, batch)
            with self._trainer.precision_plugin.forward_context(), unlogged(self._module):
                where = place(self._module, images, layers, config).sentence
                return [closeness_note(self._module, images, layers, config), LayerNote(where, is_fault=True)]

        return [note for note in self.where_it_fits(batch_size, ask) if note.sentence]

    def where_it_fits(self, batch_size: int | None, work: Callable[[int], T]) -> T:
        """Does ``work`` with batches that memory has room for: halves them where it runs out, on all
        ranks.
        """
        while True:
            batch = min(
                self._observation.batch_size or self._settings.max_batch or batch_size or USUAL_BATCH,
                self._room,
            )
            try:
                return self._ranks.together(partial(work, batch))
            except (RuntimeError, MemoryError) as error:
                if batch == 1 or not is_out_of_memory(error):
                    raise
            # Here the error and all that its frames held are gone.
            self._room = batch // 2
            free_memory(self._module.device)
            self._messages.warn(
                f"max_batch: memory ran out with {batch} images at once; from now on {self._room} are sent "
                "at once"
            )

    @contextmanager
    def asking(self, images: Images, batch: int) -> Iterator[Ask]:
        """The module as a function ``(images, index) -> scores``, in the precision of the training.

        Args:
            images: The probe's, of which ``index`` says to which each row belongs.
        """
        with (
            self._trainer.precision_plugin.forward_context(),
            unlogged(self._module),
            predicting(self._module, len(images), self._model(images, batch)) as ask,
        ):
            yield ask

    def measured(
        self, epoch: int, step: int, explanation: Explanation, probe: Probe, history: History
    ) -> Look:
        """The look as the history keeps it, with its statistics."""
        cams = explanation.cams
        past = [look.cams.to(cams.device) for look in (*history.looks[-1:], *history.looks[:1])]
        last, first = past if past and past[0].shape == cams.shape == past[1].shape else (None, None)
        masks = None if probe.masks is None else probe.masks.to(cams.device)
        statistics = measure(MapContext(explanation.saliency, cams, masks, last, first))
        task, scores = TASKS[explanation.task], explanation.scores
        predicted, confidence = task.answers(scores)
        right = task.share_right(scores, explanation.labels)
        confidences = task.shares(scores) if task.several else None
        return remember(epoch, step, cams, predicted, confidence, statistics, right, confidences)

    def untrained(self, explanation: Explanation, probe: Probe) -> Look:
        """The look at a model before any training, the first of a history."""
        return self.measured(-1, 0, explanation, probe, History())

    def _model(self, images: Images, batch: int) -> ModelConfig:
        """How to run the module: as the validation step does, and as the strategy wants it; its outputs are
        read as at the first look.
        """
        config = self._observation.model_config(self._settings.config.model, images)
        if self._read is not None:
            config = replace(config, task=self._read.task, activation=self._read.activation)
        own = None if config.network is None else runner(self._module, config.network)
        through = forward_through(self._trainer, own)
        return replace(config, network=config.network if through is own else through, max_batch=batch)

    def _explain(self, probe: Probe, batch: int, normalization: Normalization | None) -> Explanation:
        module, settings = self._module, self._settings
        # A probe of the user's own may be of any dtype; what validation gave was converted there.
        own = isinstance(settings.probe, Probe)
        images = like(probe.images, module) if own else probe.images.to(module.device)
        images = self._trainer.precision_plugin.convert_input(images)
        labels = None if probe.labels is None else probe.labels.to(images.device)
        config = replace(settings.config, model=self._model(images, batch), normalization=normalization)
        config = config.named(probe.class_names or settings.names)
        is_asked_for = config.target == "label" and config.model.task not in UNLABELED
        if config.target == "label" and labels is None:
            config = replace(config, target="predicted")
        # Where the step was seen, it was said in which way there are none.
        if is_asked_for and labels is None and not self._observation.has_seen:
            self._messages.warn(
                "no labels found (one whole number per image), so the maps explain the predicted class; "
                "say where they are with Inputs(labels=...)"
            )
        with self._trainer.precision_plugin.forward_context(), unlogged(module):
            if self._layers is None:
                self._layers = find_layers(config, module, images)
            (explanation,) = answer(config, module, images, labels, self._layers).values()
        self._read = OutputReading(explanation.task, explanation.activation)
        return explanation
