"""``CAMMonitor``: when to look and whom to tell. No arithmetic, and no state but a session and a run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning_cam.attribution.running import check_runnable
from lightning_cam.attribution.target_layer import named_layer
from lightning_cam.callbacks.lightning import LightningModule, Trainer, callback_bases, metrics_of
from lightning_cam.callbacks.messages import UNWATCHED, Messages
from lightning_cam.callbacks.scalars import logged_scalars, watched_names
from lightning_cam.callbacks.seen import Seen
from lightning_cam.callbacks.session import Session
from lightning_cam.callbacks.settings import Inputs, Settings, ShortcutTests
from lightning_cam.callbacks.state import Run
from lightning_cam.data.probe import Probe
from lightning_cam.visualization.style import Style


class CAMMonitor(Seen, *callback_bases()):  # type: ignore[misc]
    """Shows on a fixed probe batch, at validations, where the model looks: overlays, their evolution,
    statistics.

    Training with it gives the same weights and the same metrics, to the last bit, as training without. A
    model or batch that it cannot explain raises in the sanity check, before training; later it never stops a
    training: it warns once and switches itself off. Where a function is asked for, its import path will do,
    such as "my_project.my_cam".

    Args:
        probe: How many validation images to choose, class-balanced by counting; or their indices in the
            validation dataset; or a ``Probe`` of your own.
        method: A key of ``METHODS``, or a function of ``Evidence`` that returns maps (n, h, w).
        target: What is explained: a key of ``TARGETS`` ("label", "predicted"), a class index, or a function
            ``(scores, labels) -> (n,)``.
        target_layer: Name of a submodule; None finds the last one with feature maps. Of a list of names the
            maps are fused.
        task: A key of ``TASKS``: "multiclass", "binary", "multilabel", "regression" or "none"; "auto" takes
            what your ``validation_step`` shows, by the loss that it computes.
        network: Which part of the module is run: the name of a submodule, or a function ``(module, images) ->
            output``; None runs what your ``validation_step`` runs.
        every_n_epochs: Look in the first epoch and then where ``ModelCheckpoint(every_n_epochs=...)`` saves;
            where no validation falls into such an epoch, at the next one.
        every_n_validations: Of the validations of those epochs, look at the first of the fit and then at
            every n-th.
        class_names: One name per class; None takes ``dataset.classes`` where there is one.
        normalization: How to undo it for display: "auto" reads the dataset's transforms; "imagenet", (mean,
            std) or None.
        inputs: Where a batch holds images, labels and masks, where the output holds the scores, which loader
            is watched.
        style: How maps are drawn, and how many.
        shortcuts: Which cues are tested as possible shortcuts, which the model may use, what a warning does;
            None: no tests.
        max_batch: Largest batch sent through the model; None takes the validation batch's size.
        max_overhead: Largest share of the training time that looks and tests may take, in (0, 1]; "auto": 10
            %, but at least a minute in all; None: no limit. The first look is always made; rank zero decides,
            all ranks follow.
        scalars: Which scalars are logged: "default", at most six and statistics of your own; "all"; or names
            and prefixes, such as ["default", "entropy", "shortcut"]. The report has all. What another
            callback or a scheduler watches is logged as well.
        persist_probe: Keep the probe's images in checkpoints. False where images must not leave the machine;
            the report and the pictures in the log directory hold them even so.
        report: Write ``report.html`` at the end of the fit: one page that shows every look. It holds the
            shown images, as the pictures do, whatever ``persist_probe`` says.
        log_dir: Where files go, a folder or a URL that fsspec knows: the report, and the pictures and texts
            that no logger takes. They lie in ``<log_dir>/<name>``, those of a later run in ``<name>-v1``.
            None: in the first logger's directory; without a logger nothing is written.
        verbose: Say in the console what is explained, what is noticed and where the report lies. Warnings
            come in any case.
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
        probe: int | Sequence[int] | Probe = 64,
        *,
        # LightningCLI takes the first type that fits and writes it down as such: a text stays one, import
        # path or not.
        method: str | Callable = "gradcam",
        target: int | str | Callable = "label",
        target_layer: str | Sequence[str] | None = None,
        task: str = "auto",
        network: str | Callable | None = None,
        every_n_epochs: int = 1,
        every_n_validations: int = 1,
        class_names: Sequence[str] | None = None,
        normalization: str | tuple[Sequence[float], Sequence[float]] | None = "auto",
        inputs: Inputs = Inputs(),  # noqa: B008 - frozen
        style: Style = Style(),  # noqa: B008 - frozen
        shortcuts: ShortcutTests | bool | None = ShortcutTests(),  # noqa: B008 - frozen
        max_batch: int | None = None,
        max_overhead: float | str | None = "auto",
        scalars: str | Sequence[str] = "default",
        persist_probe: bool = True,
        report: bool = True,
        log_dir: str | Path | None = None,
        verbose: bool = True,
        name: str = "cam",
    ) -> None:
        super().__init__()
        self.settings = Settings(
            probe=probe,
            method=method,
            target=target,
            target_layer=target_layer,
            task=task,
            network=network,
            every_n_epochs=every_n_epochs,
            every_n_validations=every_n_validations,
            class_names=class_names,
            normalization=normalization,
            inputs=inputs,
            style=style,
            shortcuts=shortcuts,
            max_batch=max_batch,
            max_overhead=max_overhead,
            scalars=scalars,
            persist_probe=persist_probe,
            report=report,
            log_dir=log_dir,
            verbose=verbose,
            name=name,
        )
        given = probe if isinstance(probe, Probe) else None
        self._run = Run(given, self.settings.config.description, persist_probe)
        self._session: Session | None = None

    @property
    def name(self) -> str:
        """Prefix of every tag and key."""
        return self.settings.name

    @property
    def state_key(self) -> str:
        """One key in the checkpoint per name."""
        return self._generate_state_key(name=self.name)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """A new session: everything is looked for anew."""
        self._run.come_home()
        if stage == "fit" and trainer.global_step == 0 and not self._run.is_restored:
            self._run.start_again()  # what is kept is of a run that has ended
        self._session = Session(self.settings, self._run, trainer, pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks what can be checked before training."""
        config = self.settings.config
        if config.model.network is not None:  # else it is what the validation step will be seen to run
            check_runnable(pl_module, config.model)
        for layer in config.layer_names:
            named_layer(pl_module, layer)
        if not trainer.enable_validation:
            self.session.messages.warn(
                "maps are made at validation, and this fit has none (no validation loader, no "
                "validation_step, or "
                "limit_val_batches=0); give the Trainer a validation loader"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The untrained look at a user's probe, where no sanity check has made it."""
        with self.session.guarded():
            self.session.begin_training()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A new validation: nothing was looked at yet."""
        with self.session.guarded():
            self.session.begin_validation()

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Takes images for the probe, and features of cues, before the user's step can change them."""
        with self.session.guarded():
            self.session.begin_batch(batch, dataloader_idx)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Looks, once the probe is complete."""
        with self.session.guarded():
            self.session.end_batch(batch_idx, dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the scalars, at every validation but the sanity check."""
        if trainer.sanity_checking:
            return
        with self.session.guarded():
            self.session.end_validation()
        if trainer.barebones:  # where nothing is logged
            return
        with self.session.guarded():
            watched = watched_names(trainer, self.name)
            for key, value in logged_scalars(self._run.record, self.settings.scalars, watched).items():
                pl_module.log(f"{self.name}/{key}", value, on_step=False, on_epoch=True, sync_dist=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the user's own metrics for the report, and lets the pictures be drawn and written, while
        training goes on.
        """
        with self.session.guarded():
            if trainer.state.fn == "fit" and not trainer.sanity_checking:
                monitors = [one.name for one in trainer.callbacks if isinstance(one, CAMMonitor)]
                self._run.record.beside_look(lambda: metrics_of(trainer, monitors))
            self.session.publisher.start()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says that a test, or a prediction, is not watched, to who has seen no look."""
        if not self._run.record.has_looked:
            self.session.messages.tell(UNWATCHED)

    on_predict_start = on_test_start

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the looks one after another, waits until all pictures are written, and writes the report."""
        with self.session.guarded():
            self.session.end_training()
        with self.session.guarded():
            self.session.publisher.finish()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Writes what is still to be written, before loggers are closed."""
        if self._session is not None:  # else it was raised before this callback's setup
            with self._session.guarded():
                self._session.publisher.finish()
            self._send_home(trainer, self._session)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Writes what is still to be written, before loggers are closed."""
        if self._session is not None:
            with self._session.guarded():
                self._session.publisher.flush()
            self._send_home(trainer, self._session)
        self._session = None

    def state_dict(self) -> dict[str, Any]:
        """Probe, history and last scalars as plain tensors and primitives; empty before there is a probe."""
        session = self._session
        self._run.come_home()
        return self._run.state(
            self.settings.known_normalization if session is None else session.normalization
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a former run: the same probe, a continued history."""
        verbose = self.settings.verbose
        messages = Messages(self.name, verbose=verbose) if self._session is None else self._session.messages
        for note in self._run.load(state):
            messages.warn(note)

    @property
    def session(self) -> Session:
        """The fit, or the validation, that is running.

        Raises:
            RuntimeError: None is.
        """
        if self._session is None:
            raise RuntimeError("CAMMonitor: no Trainer runs; its hooks are called by a Trainer, setup first.")
        return self._session

    def _send_home(self, trainer: Trainer, session: Session) -> None:
        """Leaves what rank zero saw to the process that started this one."""
        if trainer.is_global_zero:
            with session.guarded():
                self._run.send_home(session.normalization)

    def __getstate__(self) -> dict[str, Any]:
        """A copy has no session: that is of this process and this fit."""
        return {**self.__dict__, "_session": None}
