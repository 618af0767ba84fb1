"""``CAMMonitor``: when to look and whom to tell. No arithmetic."""

import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_cam.attribution.capture import has_run, predicting
from lightning_cam.attribution.config import ExplainConfig
from lightning_cam.attribution.network import check_forward, like
from lightning_cam.attribution.target_layer import TargetLayer, named_layer
from lightning_cam.attribution.targets import probabilities
from lightning_cam.callbacks.lightning import (
    LightningModule,
    Trainer,
    callback_bases,
    forward_through,
    unlogged,
)
from lightning_cam.callbacks.publisher import Publisher, scene_of
from lightning_cam.callbacks.schedule import Budget
from lightning_cam.checks import check_normalization, check_whole
from lightning_cam.data.batch import read_batch
from lightning_cam.data.dataset import class_names as dataset_class_names
from lightning_cam.data.dataset import normalization as dataset_normalization
from lightning_cam.data.dataset import nth_loader
from lightning_cam.data.history import History, Look, remember
from lightning_cam.data.probe import Probe
from lightning_cam.devices import is_out_of_memory, seconds_now
from lightning_cam.distributed import Ranks, ranks_of
from lightning_cam.explainer import answer, find_layers
from lightning_cam.explanation import Explanation
from lightning_cam.loggers.publish import Destination, PublishError, validation_step, where_to
from lightning_cam.loggers.worker import Worker
from lightning_cam.metrics.statistics import MapContext, measure
from lightning_cam.report.record import Memory
from lightning_cam.report.settings import settings_of
from lightning_cam.selectors import check_selector, imported
from lightning_cam.shortcuts.class_means import MOST_CLASSES, MOST_IMAGES, ClassMeans
from lightning_cam.shortcuts.examine import check_subjects, choose_cues, examine
from lightning_cam.shortcuts.findings import Finding
from lightning_cam.shortcuts.pairing import TestedProbe
from lightning_cam.shortcuts.partial_input import observe
from lightning_cam.shortcuts.report import ShortcutReport
from lightning_cam.typing import Images, Masks
from lightning_cam.visualization.scene import Scene
from lightning_cam.visualization.style import Style

THOROUGH = "thorough tests"
T = TypeVar("T")


class CAMMonitor(*callback_bases()):  # type: ignore[misc]
    """Shows on a fixed probe batch, at validations, where the model looks: overlays, their evolution,
    statistics.

    Training with it gives the same weights and the same metrics, to the last bit, as training without. A
    model or batch that it cannot explain raises in the sanity check, before training; later it never stops a
    training: it warns once and switches itself off. Where a function is asked for, its import path will do,
        such as "my_project.my_cam".

    Args:
        probe: How many validation images to choose, class-balanced by counting, or a ``Probe`` of your own.
        shown: How many of them are drawn; statistics use all.
        method: A key of ``METHODS``, or a function of ``Evidence`` that returns maps (n, h, w).
        target: What is explained: a key of ``TARGETS`` ("label", "predicted"), a class index, or a function
            ``(scores, labels) -> (n,)``.
        target_layer: Name of a submodule; None finds the last one with feature maps. Of a list of names the
            maps are fused.
        every_n_epochs: Look once in every block of that many epochs, at each validation of the epoch in which
            it falls due.
        forward: Function ``(module, images) -> output``; None calls the module.
        scores: How to read scores (n, C) from the output: key, index or function; None finds them.
        images: How to read the images from a batch: key, index or function; None finds them.
        labels: Likewise the labels.
        masks: Likewise the masks, which say where the object is.
        dataloader_idx: Which validation loader to watch.
        normalization: How to undo it for display: "auto" reads the dataset's transforms; "imagenet", (mean,
            std) or None.
        class_names: One name per class; None takes ``dataset.classes`` where there is one.
        colormap: Name of a matplotlib colormap; a diverging one, such as "RdBu_r", draws both signs of a map.
        opacity: Of the heatmap over the image, in [0, 1].
        color_scale: "map": colours run to each map's own maximum; "run": to each image's maximum over all
            looks so far.
        foreground: Share of a map's maximum, in (0, 1], at which its contour is drawn over the image; None
            draws none.
        cues: Keys of ``CUES``, or prefixes of such, that are transplanted between probe images; "default":
            all; None: no shortcut tests.
        expected_cues: Keys or prefixes of cues that may decide here: logged, never warned of.
        alarm_cues: Keys or prefixes of cues of tier B that may warn too.
        on_alert: "warn"; "stop" sets ``trainer.should_stop``; or a function of the ``Finding``, called on
            rank zero alone. Of warnings only, not of notices.
        max_batch: Largest batch sent through the model; None takes the validation batch's size.
        max_overhead: Largest share of the training time that looks and tests may take, in (0, 1]; None: no
            limit. The first look is always made; rank zero decides, all ranks follow.
        persist_probe: Keep the probe's images in checkpoints. False where images must not leave the machine;
            the report and the pictures in the log directory hold them even so.
        report: Write ``report.html`` at the end of the fit, beside the pictures in the log directory: one
            page that shows every look. It holds the shown images, as the pictures do, whatever
            ``persist_probe`` says.
        name: Prefix of every tag and key; two monitors need two names.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument's value is outside what is stated here.

    Example:
        >>> from pytorch_lightning import Trainer
        >>> trainer = Trainer(callbacks=[CAMMonitor()], logger=False)
    """

    def __init__(
        self,
        probe: int | Probe = 64,
        *,
        shown: int = 16,
        # LightningCLI takes the first type that fits and writes it down as such: a text stays one, import
        # path or not.
        method: str | Callable = "gradcam",
        target: int | str | Callable = "label",
        target_layer: str | Sequence[str] | None = None,
        every_n_epochs: int = 1,
        forward: Callable | None = None,
        scores: int | str | Callable | None = None,
        images: int | str | Callable | None = None,
        labels: int | str | Callable | None = None,
        masks: int | str | Callable | None = None,
        dataloader_idx: int = 0,
        normalization: str | tuple[Sequence[float], Sequence[float]] | None = "auto",
        class_names: Sequence[str] | None = None,
        colormap: str = "inferno",
        opacity: float = 0.5,
        color_scale: str = "map",
        foreground: float | None = None,
        cues: str | Sequence[str] | None = "default",
        expected_cues: Sequence[str] = (),
        alarm_cues: Sequence[str] = (),
        on_alert: str | Callable = "warn",
        max_batch: int | None = None,
        max_overhead: float | None = None,
        persist_probe: bool = True,
        report: bool = True,
        name: str = "cam",
    ) -> None:
        super().__init__()
        if not isinstance(probe, Probe):
            check_whole("probe", probe, 1, "how many images to choose, or a Probe")
        check_whole("every_n_epochs", every_n_epochs, 1)
        check_whole("dataloader_idx", dataloader_idx, 0)
        self.style = Style(shown, colormap, opacity, color_scale, foreground)
        if not isinstance(name, str) or not name:
            raise ValueError(f"name: got {name!r}; give a prefix for tags and keys, such as 'cam'.")
        if not isinstance(report, bool):
            raise TypeError(f"report: got {report!r}; give True or False.")
        method, target, forward, on_alert = (imported(value) for value in (method, target, forward, on_alert))
        if isinstance(class_names, str) or not (class_names is None or isinstance(class_names, Sequence)):
            raise TypeError(f"class_names: got {class_names!r}; give one name per class, in a list.")
        if isinstance(method, list | tuple):
            raise TypeError(
                f"method: got {method!r}; a monitor has one method, several monitors have several names."
            )
        for argument, how in (("images", images), ("labels", labels), ("masks", masks)):
            check_selector(argument, how)
        if not callable(on_alert) and on_alert not in ("warn", "stop"):
            raise ValueError(f"on_alert: got {on_alert!r}; give 'warn', 'stop' or a function of the finding.")
        self.cues = {} if cues is None else choose_cues(cues)
        self.expected_cues = tuple(choose_cues(expected_cues, "expected_cues"))
        self.alarm_cues = tuple(choose_cues(alarm_cues, "alarm_cues"))
        self.on_alert = on_alert
        self.question = ExplainConfig(
            method, target, target_layer, forward, scores, max_batch=max_batch, confusions=shown
        )
        self._budget = None if max_overhead is None else Budget(max_overhead)
        self._reads_normalization = normalization == "auto"
        self.images, self.labels, self.masks, self.dataloader_idx = images, labels, masks, dataloader_idx
        self.class_names = None if class_names is None else tuple(class_names)
        self.every_n_epochs = every_n_epochs
        self.name, self.report = name, report
        self._report_path: Path | None = None  # once a look of this fit is there to be shown
        self._memory = Memory(probe, self.question.words, persist_probe, self._warn)
        self._names: tuple[str, ...] | None = None
        self._normalization = None if self._reads_normalization else check_normalization(normalization)
        self._last_scene: Scene | None = None  # of this fit, to be shown once more at its end
        self._layers: list[TargetLayer] | None = None
        self._means: ClassMeans | None = None  # over one whole validation
        self._means_complete = self._means_whole = False  # of this rank; of all
        self._batch_size: int | None = None  # of the validation, once seen
        self._room: int | None = None  # the largest batch that memory has room for, once it ran out
        self._length = 0  # of the validation, in batches; 0 where nobody knows
        self._looked = self._off = self._endless = self._shared = False
        self._pending: Exception | None = None  # met on this rank; told when all ranks are asked
        self._said: set[str] = set()
        self._background = Worker()
        self._gallery = Publisher(name, self._memory, self._background, self._warn)

    @property
    def probe(self) -> Probe | None:
        """The probe batch; None until the first validation has passed."""
        return self._memory.probe

    @property
    def history(self) -> History:
        """Past looks, the untrained model first."""
        return self._memory.history

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Cues that decided against the object when they were last tested."""
        return self._memory.standing.findings

    @property
    def state_key(self) -> str:
        """One key in the checkpoint per name."""
        return self._generate_state_key(name=self.name)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """A new run: everything is looked for anew, and a monitor that had switched itself off tries
        again.
        """
        self._layers, self._batch_size, self._room, self._pending = None, None, None, None
        self._off = self._endless = self._shared = False
        self._report_path = self._last_scene = None
        self._said.clear()
        if getattr(trainer.strategy, "zero_stage_3", False):
            self._off = True
            self._warn(
                "DeepSpeed's ZeRO stage 3 has no whole parameter on any rank, so no maps are made; use stage 2, or FSDP2 "
                "(ModelParallelStrategy)"
            )
        self._means, self._means_complete, self._means_whole = None, False, False
        if stage == "fit" and trainer.global_step == 0 and self._memory.is_stale:
            self._memory.start_again()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks what can be checked before training."""
        check_forward(pl_module, self.question.forward)
        for layer in self.question.layer_names:
            named_layer(pl_module, layer)
        if not trainer.enable_validation:
            self._warn(
                "maps are made at validation, and this fit has none (no validation loader, no validation_step, or "
                "limit_val_batches=0); give the Trainer a validation loader"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The untrained look at a user's probe, where no sanity check has made it."""
        if self._budget is not None:
            self._budget = self._budget.begun(perf_counter())
        if self.probe is not None and self._is_untrained(trainer) and not self._off and has_run(pl_module):
            with self._never_stopping(trainer), self._timed("untrained look", pl_module):
                ranks = ranks_of(trainer)
                self._share_probe(ranks)
                probe = self.probe
                explanation = self._look(trainer, pl_module, probe)
                self._memory.rehearse(ranks.from_zero(lambda: self._measured(-1, 0, explanation, probe)), [])

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A new validation: nothing was looked at yet."""
        self._looked = False
        self._hear_background(pl_module)
        if self._off:
            return
        if (
            not self._means_complete
            and self.cues
            and trainer.state.fn == "fit"
            and not trainer.sanity_checking
        ):
            self._means = ClassMeans(
                tuple(dict.fromkeys(row.feature for row in self.cues.values() if row.feature))
            )
        with self._never_stopping(trainer):
            ranks = ranks_of(trainer)
            length = ranks.together(lambda: self._read_loader(trainer))
            self._length = -ranks.largest(-length)[0]  # a batch that every rank has
            self._share_probe(ranks)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Takes images for the probe and the class means, before the user's step can change them."""
        adds_to_means = self._means is not None and not self._means_complete
        known = self.probe is not None and self._batch_size is not None and not adds_to_means
        if self._off or self._pending or known or dataloader_idx != self.dataloader_idx:
            return
        try:
            found = read_batch(batch, self.images, self.labels, self.masks)
            self._batch_size = max(self._batch_size or 1, len(found.images))
            if self.probe is None:
                self._memory.collector.offer(found)
            if (
                self._means is not None
                and adds_to_means
                and found.labels is not None
                and found.images.ndim == 4
            ):
                self._means.add(
                    found.images, found.labels, found.masks, self._memory.classes(MOST_CLASSES), MOST_IMAGES
                )
        except Exception as error:  # noqa: BLE001 - raised at the look, as other ranks may have met none
            if self.probe is None or not isinstance(
                error, ValueError
            ):  # a probe of the user's own need not resemble the batch
                self._pending = error

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Looks, once the probe is complete. Only the batch hooks see the weights that are validated,
        whatever averages them.
        """
        if self._off or self._looked or dataloader_idx != self.dataloader_idx:
            return
        endless = self._endless or not self._length
        if batch_idx + 1 != self._length and not (endless and self.probe is not None):
            return  # not the last batch; where nobody knows which is, a complete probe need not wait
        self._looked = True
        with self._never_stopping(trainer):
            ranks = ranks_of(trainer)
            ranks.together(self._raise_pending)
            self._batch_size = -ranks.largest(-(self._batch_size or 16))[0]
            if trainer.sanity_checking:
                self._rehearse(trainer, pl_module)
            else:
                probe = self.probe or self._choose_probe(trainer, pl_module)
                if trainer.state.fn != "fit":
                    self._watch(trainer, pl_module, probe)
                elif self._memory.is_due(trainer.current_epoch, self.every_n_epochs) and (
                    works := self._affordable(trainer)
                ):
                    self._watch(trainer, pl_module, probe, *works[1:])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the scalars, at every validation; chooses the probe where the loader's end was not known
        before.
        """
        if trainer.sanity_checking:
            return
        self._means_complete = self._means is not None
        self._hear_background(pl_module)
        if not self._off and not self._looked:
            self._endless = True
            self._warn(
                "the validation loader does not tell its length, so the first look is at the next validation"
            )
            with self._never_stopping(trainer):
                ranks_of(trainer).together(self._raise_pending)
                if self.probe is None:
                    self._choose_probe(trainer, pl_module)
        for key, value in self._memory.logged(self.cues, self._off).items():
            pl_module.log(f"{self.name}/{key}", value, on_step=False, on_epoch=True, sync_dist=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets the pictures be drawn and written, while training goes on."""
        self._background.start()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the looks one after another, waits until all pictures are written, and writes the report."""
        scene, self._last_scene = self._last_scene, None
        if not self._off and scene is not None:
            with self._never_stopping(trainer):
                self._gallery.show(scene, ranks_of(trainer).together(lambda: where_to(trainer)))
        self._finish(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Writes what is still to be written, before loggers are closed."""
        self._finish(pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Writes what is still to be written, before loggers are closed."""
        self._flush(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Probe, history and last scalars as plain tensors and primitives; empty before there is a probe."""
        return self._memory.state(self._normalization)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a former run: the same probe, a continued history."""
        self._memory.load(state)

    def _read_loader(self, trainer: Trainer) -> int:
        """What the watched loader tells of classes and normalization; how many batches it has on this rank, 0
        if nobody knows.
        """
        lengths = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
        if self.dataloader_idx >= len(lengths):
            raise ValueError(
                f"dataloader_idx: got {self.dataloader_idx} for {len(lengths)} validation loaders; they count from 0."
            )
        loader = nth_loader(trainer.val_dataloaders, self.dataloader_idx)
        self._names = self.class_names or dataset_class_names(loader)
        if self.probe is None:
            self._memory.collector.start_again()
        elif self.probe.class_names is None and self._names is not None:
            self._memory.probe = replace(self.probe, class_names=self._names)
        if self._reads_normalization:
            self._normalization = dataset_normalization(loader)
        length = lengths[self.dataloader_idx]
        return 0 if length == float("inf") else int(length)

    def _share_probe(self, ranks: Ranks) -> None:
        """Rank zero's probe for all, once: each rank may have made its own."""
        if self.probe is not None and not self._shared:
            self._memory.probe = ranks.from_zero(lambda: self.probe)
            self._shared = True

    def _raise_pending(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            raise pending

    def _rehearse(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The whole way on the sanity check's images; nothing is logged, but the look at the untrained model
        is kept.
        """
        probe, serials = ranks_of(trainer).from_zero(lambda: self._memory.candidates(self._names))
        explanation = self._look(trainer, pl_module, probe)
        untrained = ranks_of(trainer).from_zero(lambda: self._drawn_rehearsal(explanation, probe))
        if self._is_untrained(trainer):
            self._memory.rehearse(untrained, serials)

    def _drawn_rehearsal(self, explanation: Explanation, probe: Probe) -> Look:
        if self.class_names is not None and len(self.class_names) != explanation.scores.shape[1]:
            raise ValueError(
                f"class_names: got {len(self.class_names)} names for the model's {explanation.scores.shape[1]} classes; "
                "give one per class."
            )
        untrained = self._measured(-1, 0, explanation, probe)
        self._gallery.rehearse(self._scene(explanation, probe, History().added(untrained), "rehearsal", True))
        return untrained

    def _is_untrained(self, trainer: Trainer) -> bool:
        return trainer.global_step == 0 and not self.history.looks

    def _choose_probe(self, trainer: Trainer, pl_module: LightningModule) -> Probe:
        ranks = ranks_of(trainer)
        probe, serials = ranks.from_zero(lambda: self._memory.candidates(self._names))
        ranks.together(lambda: self._memory.choose((probe, serials)))
        seen = (self.history.looks[0].predicted >= 0).sum().item() if self.history.looks else len(probe)
        if seen < len(probe) / 2:
            hint = f"the sanity check showed {seen} of the probe's {len(probe)} images, so the film strip's first column is not full"
            self._tell(pl_module, f"{hint} (Trainer(num_sanity_val_steps=-1) shows all)")
        is_kept = trainer.state.fn == "fit" and trainer.is_global_zero
        packed = self._memory.packed(self._normalization) if is_kept else None
        if packed is not None:
            size = f"the probe's {len(probe)} images add {packed['images'].nbytes / 1e6:.2f} MB to each checkpoint"
            self._tell(pl_module, f"{size} (persist_probe=False leaves them out)")
        return probe

    def _affordable(self, trainer: Trainer) -> list[str]:
        """What is done at this validation: a look, and the shortcut tests of it. Rank zero decides, all ranks
        follow.
        """
        works = ["look"]
        if self.cues:
            works.append(THOROUGH if self._memory.standing.is_thorough else "tests")
        if self._budget is None:
            return works
        now = perf_counter()
        kept = trainer.strategy.broadcast(self._budget.affordable(works, now))
        if kept != works:
            share, most = (
                100 * self._budget.share(works[: len(kept) + 1], now),
                100 * self._budget.max_overhead,
            )
            what = "looks with shortcut tests" if kept else "looks"
            self._warn(
                f"max_overhead: {what} would take {share:.1f} % of the training time, more than {most:g} %, so some are left out"
            )
        return kept

    def _watch(self, trainer: Trainer, pl_module: LightningModule, probe: Probe, tests: str = "") -> None:
        """One look: statistics, pictures, and in a fit the history and ``tests`` for shortcuts."""
        ranks = ranks_of(trainer)
        epoch, step = trainer.current_epoch, validation_step(trainer)
        when = (
            f"epoch {epoch} · step {step}"
            if trainer.state.fn == "fit"
            else f"{trainer.state.fn.value} · step {step}"
        )
        try:
            with self._timed("look", pl_module):
                explanation = self._look(trainer, pl_module, probe)
                destination = ranks.together(lambda: where_to(trainer))
                # Rank zero's: others may differ in rounding, and in what their batch norms have seen.
                look = ranks.from_zero(lambda: self._measured(epoch, step, explanation, probe))
                blank = (explanation.reasons != 0).float().mean().item()
                self._memory.add(look, blank, lasting=trainer.state.fn == "fit")
                if trainer.state.fn == "fit":
                    self._memory.settings = settings_of(
                        explanation, self.question, probe, self.style, trainer.max_epochs
                    )
                    if self.report and destination.writes:
                        self._report_path = destination.directory / self.name / "report.html"
                in_fit = trainer.state.fn == "fit"
                scene = self._scene(explanation, probe, self.history, when, in_fit)
                ranks.together(lambda: self._gallery.show(scene, destination))
                if in_fit:
                    # The probe's images lie on the host already.
                    self._last_scene = replace(scene, images=probe.images).at_the_end()
        except (ValueError, RuntimeError) as error:
            if self._memory.forget(error):
                return
            raise
        if tests:
            with self._timed(tests, pl_module):
                self._test_shortcuts(
                    trainer, pl_module, probe, explanation, when, tests == THOROUGH, destination
                )

    def _hear_background(self, pl_module: LightningModule) -> None:
        """Says where to find what was written, and what could not be."""
        for what, came in self._background.ended():
            if not isinstance(came, Exception):
                self._tell(pl_module, came or "")
            else:
                lost, cause = f"{what} is lost ({type(came).__name__}: {came})", repr(came)
                if isinstance(came, PublishError):
                    lost, cause = came.message, repr(came.exceptions)
                remedy = "see to the logger or the disk. Training, scalars and the next looks go on; more of the same is not told"
                self._warn(f"{lost}; {remedy}", about=cause)

    def _flush(self, pl_module: LightningModule) -> None:
        self._background.flush()
        self._hear_background(pl_module)

    def _finish(self, pl_module: LightningModule) -> None:
        """Writes what is still to be written, and the report last."""
        self._flush(pl_module)
        path, self._report_path = self._report_path, None
        if path is not None:
            self._gallery.write_report(path)
            self._flush(pl_module)

    @contextmanager
    def _timed(self, work: str, pl_module: LightningModule) -> Iterator[None]:
        """Puts what ``work`` takes on the budget, where there is one."""
        if self._budget is None:
            yield
            return
        start = seconds_now(pl_module.device)
        yield
        self._budget = self._budget.after(work, seconds_now(pl_module.device) - start)

    def _test_shortcuts(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        probe: Probe,
        explanation: Explanation,
        when: str,
        thorough: bool,
        destination: Destination,
    ) -> None:
        """Transplants cues between the probe's images; tells of those that decide, and draws the first of
        them.
        """
        try:
            labels = check_subjects(probe)
        except ValueError as error:
            self._warn(f"no shortcut tests: {error}")
            return
        ranks, images, standing = ranks_of(trainer), explanation.images, self._memory.standing
        labels, masks = (
            labels.to(images.device),
            None if probe.masks is None else probe.masks.to(images.device),
        )
        # Rank zero's, as ranks whose kernels round otherwise would share out other transplants.
        predicted = ranks.from_zero(lambda: explanation.scores.argmax(dim=1).cpu()).to(images.device)
        means = self._class_means(ranks, images, masks)
        subjects = TestedProbe(
            images, labels, predicted, masks, explanation.saliency, means, among=False, ranks=ranks
        )

        def report_with(batch: int) -> ShortcutReport:
            classes, question = explanation.scores.shape[1], self._question(trainer)
            with (
                trainer.precision_plugin.forward_context(),
                unlogged(pl_module),
                predicting(pl_module, len(images), question.forward, question.scores, batch) as ask,
            ):
                report = examine(
                    subjects,
                    ask,
                    self.cues,
                    classes=classes,
                    max_batch=batch,
                    class_names=self._names or probe.class_names,
                    thorough=thorough,
                    standing=standing,
                )
                return (
                    observe(report, ask, classes=classes, max_batch=batch)
                    if thorough or not self._memory.tests
                    else report
                )

        report = self._where_it_fits(ranks, report_with)
        found = report.findings
        # What watches the scalar of a cue that is tested at a later look only must find it from the first
        # look on.
        later = (
            [cue for cue, row in self.cues.items() if row.needs != "masks" or probe.masks is not None]
            if images.ndim == 4
            else []
        )
        self._memory.keep({f"shortcut/{cue}": math.nan for cue in later})
        self._memory.judge(
            report.dominances,
            found,
            trainer.current_epoch,
            thorough or report.complete,
            report.pointed,
            self.expected_cues,
            self.alarm_cues,
            (report.hosts, len(labels)),
        )
        for kind, values in (("offer", report.offers), ("agreement", report.agreement)):
            self._memory.keep({f"{kind}/{name}": value for name, value in values.items()})
        for note in report.notes:
            self._tell(pl_module, f"shortcut tests: {note}")
        keys = {finding.key for finding in found}
        now = [finding for finding in self.findings if finding.key in keys]
        ranks.together(
            lambda: self._gallery.show_findings(report, now, when, self._normalization, destination)
        )
        warned = {finding.key for finding in standing.findings if finding.level == "warning"}
        for finding in now:
            if finding.level == "warning" and finding.key not in warned:
                self._alert(trainer, finding)

    def _class_means(self, ranks: Ranks, images: Images, masks: Masks | None) -> ClassMeans:
        """Over all ranks' validation data; summed once."""
        if self._means is None:
            return ClassMeans(())
        if not self._means_whole:
            self._means = self._means.over(ranks, self._memory.classes(MOST_CLASSES), images, masks)
            self._means_complete = self._means_whole = True
        return self._means

    def _alert(self, trainer: Trainer, finding: Finding) -> None:
        self._warn(
            f"{finding.statement}. It says what decides, not whether it may: expected_cues=[{finding.cue!r}] if so"
        )
        if self.on_alert == "stop":
            trainer.should_stop = True
        elif callable(self.on_alert) and trainer.is_global_zero:
            try:
                self.on_alert(finding)
            except Exception as error:  # noqa: BLE001 - whatever the user's function raises, the training goes on
                self._warn(
                    f"on_alert: your function raised {type(error).__name__}: {error}; mend it. Looks and tests go on"
                )

    def _look(self, trainer: Trainer, pl_module: LightningModule, probe: Probe) -> Explanation:
        explanation = self._where_it_fits(
            ranks_of(trainer), lambda batch: self._explain(trainer, pl_module, probe, batch)
        )
        for note in explanation.notes:
            self._warn(note)
        return explanation

    def _where_it_fits(self, ranks: Ranks, work: Callable[[int], T]) -> T:
        """Does ``work`` with batches that memory has room for: halves them where it runs out, on all
        ranks.
        """
        while True:
            batch = min(self.question.max_batch or self._batch_size or 16, self._room or sys.maxsize)
            try:
                return ranks.together(partial(work, batch))
            except (RuntimeError, MemoryError) as error:
                if batch == 1 or not is_out_of_memory(error):
                    raise
            # Here the error and all that its frames held are gone.
            self._room = batch // 2
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
            self._warn(
                f"max_batch: memory ran out with {batch} images at once; from now on {self._room} are sent at once"
            )

    def _question(self, trainer: Trainer) -> ExplainConfig:
        return replace(self.question, forward=forward_through(trainer, self.question.forward))

    def _explain(self, trainer: Trainer, pl_module: LightningModule, probe: Probe, batch: int) -> Explanation:
        own = isinstance(self._memory.given, Probe)  # of any dtype; what validation gave was converted there
        images = trainer.precision_plugin.convert_input(
            like(probe.images, pl_module) if own else probe.images.to(pl_module.device)
        )
        labels = None if probe.labels is None else probe.labels.to(images.device)
        question = replace(self._question(trainer), normalization=self._normalization, max_batch=batch)
        if question.target == "label" and labels is None:
            question = replace(question, target="predicted")
            self._warn(
                "no labels found (one whole number per image), so the maps explain the predicted class; say where with labels="
            )
        with trainer.precision_plugin.forward_context(), unlogged(pl_module):
            if self._layers is None:
                self._layers = find_layers(question, pl_module, images)
            (explanation,) = answer(question, pl_module, images, labels, self._layers).values()
        return explanation

    def _scene(
        self, explanation: Explanation, probe: Probe, history: History, when: str, in_fit: bool
    ) -> Scene:
        return scene_of(
            explanation, probe, history, question=self.question, style=self.style, when=when, in_fit=in_fit
        )

    def _measured(self, epoch: int, step: int, explanation: Explanation, probe: Probe) -> Look:
        cams = explanation.cams
        past = [look.cams.to(cams.device) for look in (*self.history.looks[-1:], *self.history.looks[:1])]
        last, first = past if past and past[0].shape == cams.shape == past[1].shape else (None, None)
        masks = None if probe.masks is None else probe.masks.to(cams.device)
        statistics = measure(MapContext(explanation.saliency, cams, masks, last, first))
        confidence, predicted = probabilities(explanation.scores).max(dim=1)
        return remember(epoch, step, cams, predicted, confidence, statistics)

    @contextmanager
    def _never_stopping(self, trainer: Trainer) -> Iterator[None]:
        """In the sanity check errors are raised; afterwards the monitor warns once and switches itself
        off.
        """
        try:
            yield
        except Exception as error:
            if trainer.sanity_checking:
                error.add_note(
                    "CAMMonitor rehearsed on the sanity check's images; it reads them with images=, labels=, masks= and runs "
                    "the model with forward= and scores=."
                )
                raise
            self._off = True
            self._warn(
                f"switched itself off in epoch {trainer.current_epoch}; training goes on, without further maps, and its scalars "
                f"stay as they are ({type(error).__name__}: {error})"
            )

    @property
    def _title(self) -> str:
        return "CAMMonitor" if self.name == "cam" else f"CAMMonitor {self.name!r}"

    def _warn(self, note: str, about: str = "") -> None:
        """Each note once, whatever its numbers; or what it is about."""
        words = re.sub(r"\d+", "", about or note)
        if words not in self._said:
            self._said.add(words)
            rank_zero_warn(f"{self._title}: {note}")

    def _tell(self, pl_module: LightningModule, hint: str) -> None:
        """Each hint once, without disturbing a progress bar."""
        if hint and hint not in self._said:
            self._said.add(hint)
            pl_module.print(f"{self._title}: {hint}")
