"""What is shown of the looks: pictures, texts and the report, and where each of them goes."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from lightning_cam.attribution.config import ExplainConfig
from lightning_cam.attribution.maps import part_strengths
from lightning_cam.checks import Normalization
from lightning_cam.data.history import History
from lightning_cam.data.probe import Probe
from lightning_cam.explanation import Explanation
from lightning_cam.loggers.publish import Destination, publish, publish_animation, publish_text
from lightning_cam.loggers.worker import Job, Worker
from lightning_cam.report.page import write_remembered
from lightning_cam.report.record import Memory
from lightning_cam.report.settings import target_words
from lightning_cam.shortcuts.findings import Finding
from lightning_cam.shortcuts.report import ShortcutReport
from lightning_cam.visualization.canvas import Draw
from lightning_cam.visualization.pictures import PICTURES
from lightning_cam.visualization.scene import Scene
from lightning_cam.visualization.style import Style


class Publisher:
    """Draws tiles at once, as they lie on the model's device, and leaves the rest to the worker.

    Args:
        name: Prefix of every tag.
        record: Past looks, and the pictures that the report shows again.
        worker: Takes what is to be drawn and written.
        warn: Takes notes for the user.
    """

    def __init__(self, name: str, record: Memory, worker: Worker, warn: Callable[[str], None]) -> None:
        self.name, self.record, self.worker, self.warn = name, record, worker, warn

    def rehearse(self, scene: Scene) -> None:
        """Draws what a look draws, and shows it to nobody."""
        for picture in PICTURES.values():
            draw = picture(scene)
            if draw is not None:
                draw()
        self._warn_of_range(scene)

    def show(self, scene: Scene, destination: Destination) -> None:
        """Every picture of ``PICTURES`` that has something to show of this scene."""
        if not destination.writes:
            return
        for kind, picture in PICTURES.items():
            draw = picture(scene)
            if draw is not None:
                self._publish(destination, kind, draw)
        self._warn_of_range(scene)

    def show_findings(
        self,
        report: ShortcutReport,
        now: Sequence[Finding],
        when: str,
        normalization: Normalization | None,
        destination: Destination,
    ) -> None:
        """What this look's tests found, beside what stands of earlier ones; of the first a picture."""
        if not now or not destination.writes:
            return
        standing = self.record.standing.findings
        lines = [
            f"- {finding.level}: {finding.statement}\n    - {report.following(finding)}" for finding in now
        ]
        lines += [
            f"- {finding.level}, as last tested: {finding.statement}"
            for finding in standing
            if finding not in now
        ]
        tag, text = f"{self.name}/findings", "\n".join([when, "", *lines])
        self._later(destination, tag, partial(publish_text, destination, tag, text))
        # A picture of what is less important than another finding would hide that of the other.
        if now[0].rank <= min(finding.rank for finding in standing):
            drawing = report.drawing(now[0], when, normalization)
            self._publish(destination, "shortcut", self.record.album.keeping(now[0].key, drawing))

    def write_report(self, path: Path) -> None:
        """The report, once all that was shown is written: what was drawn is part of it."""
        self.worker.add(f"{self.name}/report", partial(write_remembered, self.record, path), here=True)

    def _publish(self, destination: Destination, kind: str, draw: Draw) -> None:
        tag = f"{self.name}/{kind}"

        def job() -> str | None:
            drawn = draw()
            if not isinstance(drawn, list):
                return publish(destination, tag, drawn)
            publish_animation(destination, tag, drawn)
            return None

        self._later(destination, tag, job)

    def _later(self, destination: Destination, tag: str, job: Job) -> None:
        self.worker.add(f"{tag} of epoch {destination.epoch}", job, here=not destination.any_thread)

    def _warn_of_range(self, scene: Scene) -> None:
        if scene.is_range_guessed:
            self.warn(
                "the images' normalization is not known, so channels are stretched to their range; give "
                "normalization="
            )


def scene_of(
    explanation: Explanation,
    probe: Probe,
    history: History,
    *,
    question: ExplainConfig,
    style: Style,
    when: str,
    in_fit: bool,
) -> Scene:
    """What the pictures of a look are drawn from.

    Args:
        history: With this look, where it is part of a fit.
        question: What the monitor asks, for the second line of the headers.
        when: The first line.
    """
    grid = " x ".join(str(side) for side in explanation.cams.shape[1:])
    method, confusions = (
        f"{explanation.method} at {explanation.target_layer} ({grid})",
        explanation.confusions,
    )
    target = f"target: {target_words(question, probe)}" if question.has_target else "of no class"
    return Scene(
        probe=probe,
        images=explanation.images,
        cams=explanation.cams,
        scores=explanation.scores,
        reasons=explanation.reasons,
        history=history,
        when=when,
        asked=f"{method} · {target}",
        style=style,
        normalization=explanation.normalization,
        target_classes=explanation.target_classes,
        parts=None if explanation.parts is None else part_strengths(explanation.parts),
        confusions=None if confusions is None else (confusions.predicted, confusions.contrast),
        in_fit=in_fit,
    )
