"""What is shown of the looks: pictures, texts and the report, and where each of them goes."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from lightning_cam.attribution.maps import part_strengths
from lightning_cam.callbacks.messages import Messages, without_numbers
from lightning_cam.callbacks.settings import Settings
from lightning_cam.callbacks.state import Run
from lightning_cam.checks import Normalization
from lightning_cam.data.history import History
from lightning_cam.data.probe import Probe
from lightning_cam.explanation import Explanation
from lightning_cam.loggers.folder import Folder
from lightning_cam.loggers.publish import (
    Destination,
    PublishError,
    folder_for,
    publish,
    publish_animation,
    publish_text,
    where_to,
)
from lightning_cam.loggers.worker import Job, Worker
from lightning_cam.report.page import write_record
from lightning_cam.report.record import ALERT
from lightning_cam.report.settings import target_words
from lightning_cam.shortcuts.findings import FindingKey
from lightning_cam.shortcuts.report import ShortcutReport
from lightning_cam.visualization.canvas import Draw
from lightning_cam.visualization.pictures import PICTURES
from lightning_cam.visualization.prepared import Displayed
from lightning_cam.visualization.scene import Scene

REMEDY = (
    "see to the logger or the disk. Training, scalars and the next looks go on; more of the same is not told"
)
NOWHERE = (
    "there is no logger, so pictures and the report are not written; give the Trainer a logger, or "
    "CAMMonitor(log_dir=...)"
)


class Publisher:
    """Copies what a look shows to the host, and leaves drawing and writing to a worker thread.

    Args:
        settings: The prefix of every tag, the style, what the looks ask.
        run: Its record has past looks, and the pictures that the report shows again.
        messages: Takes notes for the user.
    """

    def __init__(self, settings: Settings, run: Run, messages: Messages) -> None:
        self._settings, self._run, self._messages = settings, run, messages
        self._worker = Worker()
        self._last: Scene | None = None  # of the fit
        self._shown: tuple[FindingKey, str] | None = None  # whose picture loggers have, and its level
        self._displayed: Displayed | None = None  # the probe's images, as they were drawn last
        self._folder: Folder | None = None  # of the fit's files
        self._report: Folder | None = None  # where the report goes, once there is a look to be shown
        self._places = ""  # where pictures are, told together with the report

    def where_to(self, trainer: Any) -> Destination:
        """Where a look goes; every rank asks, on its main thread."""
        if self._folder is None:
            self._folder = folder_for(trainer, self._settings.log_dir, self._settings.name)
        return where_to(trainer, self._folder)

    def rehearse(self, scene: Scene) -> None:
        """Draws what a look and the end of a fit draw, and shows it to nobody."""
        self._warn_of_range(scene)
        again = scene.history.looks[-1:]
        ended = replace(scene.at_the_end(), history=History((*scene.history.looks, *again, *again)))
        for picture in PICTURES.values():
            for draw in filter(None, (picture(scene), picture(ended))):
                draw()

    def show(self, scene: Scene, destination: Destination) -> None:
        """Every picture that has something to show of this look, drawn by the worker."""
        if not destination.writes:
            return
        if destination.folder is None:
            self._messages.tell(NOWHERE)
            return
        scene = self._with_known_images(scene)
        self._warn_of_range(scene)
        if scene.in_fit and not scene.is_last:
            self._last = scene
            if self._settings.report:
                self._report = destination.folder
        for kind, picture in PICTURES.items():
            self._publish(destination, kind, partial(picture, scene))

    def show_end(self, destination: Destination) -> None:
        """Pictures of all looks, once the fit is over, at the step of the last one."""
        history = self._run.record.history
        if self._last is not None and len(history) > 1:
            now = replace(destination, epoch=history.looks[-1].epoch, step=history.looks[-1].step)
            self.show(replace(self._last.at_the_end(), history=history), now)

    def show_findings(
        self,
        report: ShortcutReport,
        when: str,
        normalization: Normalization | None,
        destination: Destination,
    ) -> None:
        """What this look's tests found, as text; of the first a picture, for the report at each look, for
        loggers when it is another one or becomes a warning.
        """
        record = self._run.record
        if not record.findings or not destination.writes:
            return
        lines = [f"- {finding.level}: {finding.statement}" for finding in record.findings]
        tag, text = self._tag("findings"), "\n".join([when, "", *lines])
        self._later(destination, tag, partial(publish_text, destination, tag, text))
        first = record.findings[0]
        keeping = record.evidence.keeping(first.key, report.drawing(first, when, normalization))
        before, self._shown = self._shown, (first.key, first.level)
        if before != self._shown:
            self._publish(destination, ALERT, lambda: keeping)
            return

        def for_the_report() -> None:
            keeping()

        self._later(destination, self._tag(ALERT), for_the_report)

    def start(self) -> None:
        """Lets the pictures be drawn and written, while training goes on."""
        self._worker.start()

    def hear(self) -> None:
        """Says where to find what was written, and what could not be."""
        for what, came in self._worker.ended():
            if not isinstance(came, Exception):
                self._tell_where(came or "")
                continue
            lost, cause = f"{what} is lost ({type(came).__name__}: {came})", repr(came)
            if isinstance(came, PublishError):
                lost, cause = came.message, repr(came.exceptions)
            self._messages.warn(f"{lost}; {REMEDY}", about=without_numbers(cause))

    def flush(self) -> None:
        """Waits until all is written."""
        self._worker.flush()
        self.hear()

    def finish(self) -> None:
        """Writes what is still to be written, and the report last: what was drawn is part of it."""
        self.flush()
        folder, self._report = self._report, None
        if folder is not None:
            record = self._run.record
            self._worker.add(
                self._tag("report"), lambda: write_record(record, f"{folder.path}/report.html"), here=True
            )
            self.flush()

    def _tell_where(self, place: str) -> None:
        """Where to find what was written: one line at the end, where there is a report."""
        if self._report is not None:
            self._places = self._places or place
            return
        self._messages.tell("; ".join(dict.fromkeys(filter(None, [place, self._places]))))

    def _with_known_images(self, scene: Scene) -> Scene:
        """The scene with the images as they were made for an earlier look, where they are the same."""
        known = self._displayed
        if known is None or known.images is not scene.images or known.normalization != scene.normalization:
            known = Displayed(scene.images, scene.shown.stop, scene.normalization)
        self._displayed = known
        return replace(scene, displayed=known)

    def _warn_of_range(self, scene: Scene) -> None:
        if scene.is_range_guessed:
            self._messages.warn(
                "the images' normalization is not known, so channels are stretched to their range; give "
                "normalization="
            )

    def _publish(self, destination: Destination, kind: str, picture: Callable[[], Draw | None]) -> None:
        tag = self._tag(kind)

        @torch.no_grad()
        def job() -> str | None:
            draw = picture()
            drawn = None if draw is None else draw()
            if isinstance(drawn, list):
                publish_animation(destination, tag, drawn)
            return None if drawn is None or isinstance(drawn, list) else publish(destination, tag, drawn)

        self._later(destination, tag, job)

    def _later(self, destination: Destination, tag: str, job: Job) -> None:
        self._worker.add(f"{tag} of epoch {destination.epoch}", job, here=not destination.any_thread)

    def _tag(self, kind: str) -> str:
        return f"{self._settings.name}/{kind}"


def scene_of(
    explanation: Explanation,
    probe: Probe,
    history: History,
    settings: Settings,
    *,
    when: str,
    in_fit: bool,
) -> Scene:
    """What the pictures of a look are drawn from: small copies on the host.

    Args:
        history: The looks so far, with this one where it is part of a fit.
        when: First line of the headers.
    """
    config, confusions, of_labels = settings.config, explanation.confusions, explanation.label_maps
    grid = " x ".join(str(side) for side in explanation.cams.shape[1:])
    method = f"{explanation.method} at {explanation.target_layer} ({grid})"
    target = (
        f"target: {target_words(config, probe, explanation.task)}" if config.has_target else "of no class"
    )
    return Scene(
        probe=probe,
        images=probe.images.cpu(),
        cams=explanation.cams.cpu(),
        scores=explanation.scores.cpu(),
        reasons=explanation.reasons.cpu(),
        history=history,
        when=when,
        asked=f"{method} · {target}",
        style=settings.style,
        normalization=explanation.normalization,
        target_classes=None if explanation.target_classes is None else explanation.target_classes.cpu(),
        parts=None if explanation.parts is None else part_strengths(explanation.parts).cpu(),
        confusions=None if confusions is None else (confusions.predicted.cpu(), confusions.contrast.cpu()),
        in_fit=in_fit,
        task=explanation.task,
        label_maps=None if of_labels is None else (of_labels.labels.cpu(), of_labels.cams.cpu()),
    )
