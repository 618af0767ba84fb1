"""What is shown of the looks: pictures, texts and the report, and where each of them goes."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from lightning_cam.attribution.config import ExplainConfig
from lightning_cam.attribution.maps import part_strengths
from lightning_cam.data.history import History
from lightning_cam.data.probe import Probe
from lightning_cam.explanation import Explanation
from lightning_cam.loggers.publish import Destination, publish, publish_animation, publish_text
from lightning_cam.loggers.worker import Job, Worker
from lightning_cam.report.page import write_remembered
from lightning_cam.report.record import Memory
from lightning_cam.shortcuts.findings import Finding
from lightning_cam.shortcuts.report import ShortcutReport
from lightning_cam.typing import Images
from lightning_cam.visualization.canvas import Draw
from lightning_cam.visualization.classes import draw_classes
from lightning_cam.visualization.evolution import draw_animation, draw_evolution
from lightning_cam.visualization.overlay import draw_overlay
from lightning_cam.visualization.scene import Style, how_drawn

MOVING = (
    8,
    16,
    32,
    64,
)  # looks in the history at which they are shown one after another, beside the end of the fit


class Publisher:
    """Draws tiles at once, as they lie on the model's device, and leaves the rest to the background.

    Args:
        name: Prefix of every tag.
        shown: How many of the probe's images are drawn, the first ones.
        style: How they are drawn; its normalization may become known later.
        question: What the looks ask, for the headers.
        memory: Past looks, and the pictures that the report shows again.
        background: Takes what is to be drawn and written.
        warn: Takes notes for the user.
    """

    def __init__(
        self,
        name: str,
        shown: int,
        style: Style,
        question: ExplainConfig,
        memory: Memory,
        background: Worker,
        warn: Callable[[str], None],
    ) -> None:
        self.name, self.shown, self.style, self.question = name, shown, style, question
        self.memory, self.background, self.warn = memory, background, warn

    def rehearse(self, explanation: Explanation, probe: Probe, history: History) -> None:
        """Draws what a look draws, and shows it to nobody."""
        self._overlay(explanation, probe, "rehearsal")()
        self._evolution(explanation, probe, history, "rehearsal")()

    def show(
        self, explanation: Explanation, probe: Probe, when: str, destination: Destination, in_fit: bool
    ) -> None:
        """One look; of a fit also how it came to be."""
        if not destination.writes:
            return
        self._publish(destination, "overlay", self._overlay(explanation, probe, when))
        if in_fit:
            self._publish(
                destination, "evolution", self._evolution(explanation, probe, self.memory.history, when)
            )
            if len(self.memory.history) in MOVING:
                self.animate(explanation.images, probe, destination)
        if (classes := self._classes(explanation, probe, when)) is not None:
            self._publish(destination, "classes", classes)

    def animate(self, images: Images, probe: Probe, destination: Destination) -> None:
        """The looks so far, one after another."""
        if not destination.writes:
            return
        tag, words = (
            f"{self.name}/animation",
            f"{', '.join(self.question.methods)} · {how_drawn(images)}".rstrip(" ·"),
        )
        draw = draw_animation(images[: self.shown], self.memory.history, probe, words, self.style)
        self._later(destination, tag, lambda: publish_animation(destination, tag, draw()))

    def show_findings(
        self, report: ShortcutReport, now: Sequence[Finding], when: str, destination: Destination
    ) -> None:
        """What this look's tests found, beside what stands of earlier ones; of the first a picture."""
        if not now or not destination.writes:
            return
        standing = self.memory.standing.findings
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
        if now[0].rank <= min(
            finding.rank for finding in standing
        ):  # else the picture of what stands first remains
            drawing = report.drawing(now[0], when, self.style.normalization)
            self._publish(destination, "shortcut", self.memory.album.keeping(now[0].key, drawing))

    def write_report(self, path: Path) -> None:
        """The report, once all that was shown is written: what was drawn is part of it."""
        self.background.add(f"{self.name}/report", partial(write_remembered, self.memory, path), here=True)

    def _publish(self, destination: Destination, kind: str, draw: Draw) -> None:
        tag = f"{self.name}/{kind}"
        self._later(destination, tag, lambda: publish(destination, tag, draw()))

    def _later(self, destination: Destination, tag: str, job: Job) -> None:
        self.background.add(f"{tag} of epoch {destination.epoch}", job, here=not destination.any_thread)

    def _overlay(self, explanation: Explanation, probe: Probe, when: str) -> Draw:
        shown, confusions = slice(0, self.shown), explanation.confusions
        draw, guessed = draw_overlay(
            explanation.images[shown],
            explanation.cams[shown],
            explanation.scores[shown],
            explanation.reasons[shown],
            probe,
            (when, self._asked(explanation)),
            self.style,
            None if explanation.parts is None else part_strengths(explanation.parts)[shown],
            None if confusions is None else (confusions.predicted, confusions.contrast),
            self.memory.history,
        )
        if guessed:
            self.warn(
                "the images' normalization is not known, so channels are stretched to their range; give normalization="
            )
        return draw

    def _evolution(self, explanation: Explanation, probe: Probe, history: History, when: str) -> Draw:
        first = "" if explanation.parts is None else "part 1 of "
        header = (f"evolution until {when}", f"{first}{self._asked(explanation)}")
        return draw_evolution(explanation.images[: self.shown], history, probe, header, self.style)

    def _classes(self, explanation: Explanation, probe: Probe, when: str) -> Draw | None:
        predicted, header = explanation.scores.argmax(dim=1), (f"classes · {when}", self._asked(explanation))
        return draw_classes(explanation.images, explanation.cams, predicted, probe, header, self.style)

    def _asked(self, explanation: Explanation) -> str:
        grid = " x ".join(str(side) for side in explanation.cams.shape[1:])
        method = f"{explanation.method} at {explanation.target_layer} ({grid})"
        return (
            f"{method} · target: {self.question.target_name}"
            if self.question.has_target
            else f"{method} · of no class"
        )
