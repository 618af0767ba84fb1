"""One fit, or one ``validate``: what lives as long, and no longer."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

from lightning_cam.attribution.capture import has_run
from lightning_cam.callbacks.chance import ASKED_AT, chance_hint
from lightning_cam.callbacks.collection import Collection, read_loader
from lightning_cam.callbacks.lightning import LightningModule, Trainer, run_name
from lightning_cam.callbacks.messages import REHEARSAL, ZERO_3, Messages, size_hint
from lightning_cam.callbacks.observation import Observation
from lightning_cam.callbacks.publisher import Publisher, scene_of
from lightning_cam.callbacks.rehearsal import Rehearsal
from lightning_cam.callbacks.runner import Runner
from lightning_cam.callbacks.schedule import Work
from lightning_cam.callbacks.settings import Settings
from lightning_cam.callbacks.shortcut_watch import ShortcutWatch
from lightning_cam.callbacks.state import Run
from lightning_cam.callbacks.validation import Validation
from lightning_cam.checks import Normalization
from lightning_cam.data.probe import Probe
from lightning_cam.distributed import Ranks, ranks_of
from lightning_cam.explanation import Explanation
from lightning_cam.loggers.publish import validation_step
from lightning_cam.report.settings import settings_of


class Session:
    """One fit or one ``validate``: made in ``setup``, gone after ``teardown``; nothing in it is ever reset.

    Errors are raised in the sanity check. Afterwards the monitor warns once and switches itself off, on all
    ranks: whatever one rank alone may meet runs in ``Ranks.together``.

    Args:
        settings: What was asked.
        run: What outlives the session.
    """

    def __init__(self, settings: Settings, run: Run, trainer: Trainer, pl_module: LightningModule) -> None:
        self._settings, self._run, self._trainer, self._module = settings, run, trainer, pl_module
        self._ranks: Ranks = ranks_of(trainer)
        self.messages = Messages(settings.name, trainer, verbose=settings.verbose)
        self._schedule = settings.schedule()
        self._observation = Observation(settings, trainer, pl_module)
        self._collection = Collection(settings, self._observation, self.messages.warn)
        self._runner = Runner(settings, trainer, pl_module, self._ranks, self._observation, self.messages)
        self.publisher = Publisher(settings, run, self.messages)
        self._watch = ShortcutWatch(
            settings, trainer, self._ranks, self._collection, self._runner, self.publisher, self.messages
        )
        self._rehearsal = Rehearsal(
            settings, run, self._ranks, self._collection, self._runner, self.publisher
        )
        self._validation: Validation | None = None
        self._is_shared = False  # whether all ranks have rank zero's probe
        self._is_endless = False  # whether a validation ended unexpectedly: then a full probe need not wait
        self.is_off = False
        if getattr(trainer.strategy, "zero_stage_3", False):
            self.switch_off(ZERO_3)

    @property
    def normalization(self) -> Normalization | None:
        """How to undo it for display, as far as it is known."""
        known = self._settings.known_normalization
        if self._validation is None or known is not None:
            return known
        return self._observation.normalization(self._validation.facts.normalization)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """The rule for everything that runs in a hook: raise in the sanity check, never later."""
        try:
            yield
        except Exception as error:
            if self._trainer.sanity_checking:
                error.add_note(REHEARSAL)
                raise
            self.switch_off(
                f"switched itself off in epoch {self._trainer.current_epoch}; training goes on, without "
                f"further maps, and its scalars stay as they are ({type(error).__name__}: {error})"
            )

    def switch_off(self, why: str) -> None:
        """No further looks in this session."""
        self.is_off = True
        self.messages.warn(why)

    def begin_training(self) -> None:
        """The untrained look at a user's probe, where no sanity check has made it."""
        self._schedule.begin(perf_counter())
        probe = self._run.record.probe
        if probe is None or self.is_off or not self._is_untrained or not has_run(self._module):
            return
        with self._schedule.timed(Work.UNTRAINED_LOOK, self._module.device):
            self._share_probe()
            probe = self._run.record.probe or probe
            explanation = self._runner.explain(probe, None, self._settings.known_normalization)
            untrained = self._ranks.from_zero(lambda: self._runner.untrained(explanation, probe))
            self._run.record.start(untrained)

    def begin_validation(self) -> None:
        """A new validation: nothing was looked at yet."""
        self.publisher.hear()
        is_first, self._validation = self._validation is None, None
        if self.is_off:
            return
        settings, record, ranks = self._settings, self._run.record, self._ranks
        needs_indices = self._collection.needs_indices and record.probe is None
        facts = ranks.together(lambda: read_loader(self._trainer, settings, needs_indices))
        if self._in_fit:  # what a validation alone sees is no fit's data
            self.messages.warn(self._run.watch(facts.dataset, is_new_fit=is_first))
        self.messages.tell(facts.note)
        length = -ranks.largest(-(facts.length or 0))[0]
        self._validation = Validation(length or None, facts)
        ranks.together(
            lambda: self._collection.begin(
                facts,
                needs_probe=record.probe is None,
                wants_features=self._in_fit and not self._trainer.sanity_checking,
            )
        )
        if record.probe is not None and record.probe.class_names is None and facts.class_names is not None:
            record.take(replace(record.probe, class_names=facts.class_names))
        self._share_probe()

    def begin_batch(self, batch: Any, dataloader_idx: int) -> None:
        """Takes what is wanted of a batch before the user's step can change it."""
        validation, probe = self._validation, self._run.record.probe
        if self.is_off or validation is None or validation.has_failed or not self._is_watched(dataloader_idx):
            return
        with validation.keeping_failure(has_probe=probe is not None), self._timed_features:
            self._collection.begin_batch(batch, probe)

    def end_batch(self, batch_idx: int, dataloader_idx: int) -> None:
        """Takes what is known once the step is over; looks, once the probe is complete."""
        validation, probe = self._validation, self._run.record.probe
        if not (self.is_off or validation is None) and self._is_watched(dataloader_idx):
            with validation.keeping_failure(has_probe=probe is not None), self._timed_features:
                self._collection.end_batch(probe)
        self._look_if_last(batch_idx, dataloader_idx)

    def _look_if_last(self, batch_idx: int, dataloader_idx: int) -> None:
        """Looks, once the probe is complete.

        Only the batch hooks see the weights that are validated, whatever averages them.
        """
        validation, probe = self._validation, self._run.record.probe
        if self.is_off or validation is None or validation.has_looked or not self._is_watched(dataloader_idx):
            return
        waits_for_nothing = self._is_endless and probe is not None
        if not (waits_for_nothing or validation.is_last(batch_idx)) or (
            validation.length is None and probe is None
        ):
            return
        validation.look()
        self._ranks.together(validation.raise_failure)
        self._tell_reading()
        self._collection.share_batch_size(self._ranks)
        if self._trainer.sanity_checking:
            names, normalization = validation.facts.class_names, self.normalization
            self._rehearsal.hold(names, normalization, is_untrained=self._is_untrained)
            return
        if validation.length is not None:
            self._collection.cues.end()
        probe = probe or self._choose_probe(validation)
        if not self._in_fit:
            self._look(probe, [Work.LOOK])
        elif self._schedule.next_is_due(self._run.record.history, self._trainer.current_epoch):
            works, note = self._schedule.affordable(self._works, self._ranks, perf_counter())
            if note:
                self.messages.warn(note)
            if works:
                self._look(probe, works)

    def end_validation(self) -> None:
        """Chooses the probe where the loader's end was not known before."""
        self.publisher.hear()
        self._collection.cues.end()
        validation = self._validation
        if self.is_off or validation is None or validation.has_looked:
            return
        self._is_endless = True
        self.messages.warn(
            "the validation loader does not tell its length, so the first look is at the next validation"
        )
        self._ranks.together(validation.raise_failure)
        if self._run.record.probe is None:
            self._choose_probe(validation)

    def end_training(self) -> None:
        """Shows what is shown of all looks together."""
        if not self.is_off:
            self.messages.warn(chance_hint(self._run.record, self._trainer.callback_metrics))
            self.publisher.show_end(self._ranks.together(lambda: self.publisher.where_to(self._trainer)))

    @property
    def _in_fit(self) -> bool:
        return self._trainer.state.fn == "fit"

    @property
    def _is_untrained(self) -> bool:
        return self._trainer.global_step == 0 and not self._run.record.history.looks

    @property
    def _works(self) -> list[Work]:
        """What a look in the fit does: of no tests there are no cues."""
        has_tests = bool(self._settings.cues) and not self._watch.is_off
        return [Work.LOOK, Work.TESTS] if has_tests else [Work.LOOK]

    @property
    def _timed_features(self) -> AbstractContextManager[None]:
        return self._schedule.timed(self._collection.cues.work, self._module.device)

    def _is_watched(self, dataloader_idx: int) -> bool:
        return dataloader_idx == self._settings.inputs.dataloader_idx

    def _tell_reading(self) -> None:
        """Says once what is explained, as rank zero saw it.

        Raises:
            ValueError: Another rank saw something else.
        """
        own = self._observation.reading
        reading = self._ranks.from_zero(lambda: own)
        differs = (own and own.explained) != (reading and reading.explained)
        if self._ranks.count > 1 and self._ranks.largest(int(differs))[0]:
            raise ValueError(
                "validation_step: the processes saw it run different networks, images or labels, so they "
                "cannot look together; name what is explained: network=, Inputs(images=, labels=, scores=)."
            )
        if reading is not None and reading != self._run.record.reading:
            self._run.record.read(reading)
            self.messages.tell_reading(reading)

    def _share_probe(self) -> None:
        """Rank zero's probe for all, once: each rank may have made its own."""
        record = self._run.record
        probe = record.probe
        if probe is not None and not self._is_shared:
            record.take(self._ranks.from_zero(lambda: probe))
            self._is_shared = True

    def _choose_probe(self, validation: Validation) -> Probe:
        ranks, facts = self._ranks, validation.facts
        probe, serials = self._collection.candidates(ranks, facts.class_names, rehearsal=False)
        self._is_shared = True  # it is rank zero's
        untrained, notes = self._collection.end_choice(serials)
        for note in (*notes, *ranks.together(lambda: self._run.choose(probe, untrained))):
            self.messages.warn(note)
        is_kept = self._in_fit and self._trainer.is_global_zero
        packed = self._run.packed(self.normalization) if is_kept else None
        if packed is not None:
            self.messages.tell(size_hint(len(probe), packed["images"].nbytes))
        return probe

    def _look(self, probe: Probe, works: list[Work]) -> None:
        """One look: statistics, pictures, and in a fit the history and shortcut tests."""
        trainer, ranks, record = self._trainer, self._ranks, self._run.record
        epoch, step = trainer.current_epoch, validation_step(trainer)
        when = f"epoch {epoch} · step {step}" if self._in_fit else f"{trainer.state.fn.value} · step {step}"
        try:
            with self._schedule.timed(Work.LOOK, self._module.device):
                explanation = self._runner.explain(probe, self._collection.batch_size, self.normalization)
                probe = self._run.name_rightly(probe, explanation.scores.shape[1])
                destination = ranks.together(lambda: self.publisher.where_to(trainer))
                # Rank zero's: others may differ in rounding, and in what their batch norms have seen.
                look = ranks.from_zero(
                    lambda: self._runner.measured(epoch, step, explanation, probe, record.history)
                )
                self._run.confirm()
                blank = (explanation.reasons != 0).float().mean().item()
                record.add(look, blank, self._settings_of(explanation, probe) if self._in_fit else None)
                ranks.together(
                    lambda: self.publisher.show(
                        scene_of(
                            explanation, probe, record.history, self._settings, when=when, in_fit=self._in_fit
                        ),
                        destination,
                    )
                )
        except (ValueError, RuntimeError) as error:
            note = self._run.refuse(error)
            if not note:
                raise
            self.messages.warn(note)
            return
        with self._schedule.timed(Work.UNTRAINED_LOOK, self._module.device):
            self._runner.note_layers_once(record, explanation.images, self._collection.batch_size)
        if sum(look.epoch >= 0 for look in record.history.looks) == ASKED_AT:
            self.messages.warn(chance_hint(record, trainer.callback_metrics))
        for work in works[1:]:
            with self._schedule.timed(work, self._module.device):
                self._watch.test(record, probe, explanation, when, destination)

    def _settings_of(self, explanation: Explanation, probe: Probe) -> dict[str, Any]:
        settings, run = self._settings, run_name(self._trainer, self._module)
        return settings_of(explanation, settings.config, probe, settings.style, self._trainer.max_epochs, run)
