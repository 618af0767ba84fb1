"""One look's shortcut tests: made, followed over looks, told."""

from collections.abc import Sequence
from dataclasses import replace

from lightning_cam.attribution.task import REGRESSION, TASKS
from lightning_cam.callbacks.collection import Collection
from lightning_cam.callbacks.cue_sample import Told
from lightning_cam.callbacks.lightning import Trainer
from lightning_cam.callbacks.messages import Messages
from lightning_cam.callbacks.publisher import Publisher
from lightning_cam.callbacks.runner import Runner
from lightning_cam.callbacks.settings import Settings, ShortcutTests
from lightning_cam.data.probe import Probe
from lightning_cam.distributed import Ranks
from lightning_cam.explanation import Explanation
from lightning_cam.loggers.publish import Destination
from lightning_cam.report.record import ALERT, RunRecord
from lightning_cam.shortcuts.examine import Asking, check_subjects, examine, label_views
from lightning_cam.shortcuts.findings import Finding, FindingKey
from lightning_cam.shortcuts.pairing import TestedProbe
from lightning_cam.shortcuts.partial_input import observe
from lightning_cam.shortcuts.predictivity import unfit
from lightning_cam.shortcuts.report import ShortcutReport

NO_CLASSES = (
    "no shortcut tests, as your network answers a number, and they count classes. "
    "Maps, pictures and scalars are made as ever"
)
NO_IMAGES = "shortcut tests: cues are made for images (n, c, H, W), not for signals or volumes"
NOT_YET = (
    "shortcut tests begin at the next validation: they first measure, over one whole validation, how well "
    "each cue tells the label"
)


class ShortcutWatch:
    """Asks the model, at each look, about the cues that tell the label, and tells of those that it relies on.

    Args:
        settings: Which cues are tested.
        trainer: Stops where a warning asks for it.
        ranks: The processes that test together.
        collection: Knows how well each cue tells the label.
        runner: Asks the module.
        publisher: Draws findings.
        messages: Takes warnings and hints for the user.
    """

    def __init__(
        self,
        settings: Settings,
        trainer: Trainer,
        ranks: Ranks,
        collection: Collection,
        runner: Runner,
        publisher: Publisher,
        messages: Messages,
    ) -> None:
        self._settings, self._trainer, self._ranks = settings, trainer, ranks
        self._collection, self._runner, self._publisher, self._messages = (
            collection,
            runner,
            publisher,
            messages,
        )
        self._noticed: set[FindingKey] = set()
        self.is_off = False

    def test(
        self,
        record: RunRecord,
        probe: Probe,
        explanation: Explanation,
        when: str,
        destination: Destination,
    ) -> None:
        """One look's tests: a collective. An error switches the tests off, on all ranks, and nothing else."""
        tests = self._settings.tests
        if tests is None or self.is_off:
            return
        if explanation.task == REGRESSION.name or explanation.images.ndim != 4:
            self._messages.tell(NO_CLASSES if explanation.task == REGRESSION.name else NO_IMAGES)
            return
        try:
            check_subjects(probe, explanation.task)
        except ValueError as error:
            self._messages.warn(f"no shortcut tests: {error}")
            return
        try:
            self._test(record, probe, explanation, when, destination, tests)
        # Whatever one rank alone may meet runs in ``Ranks.together``, so that all ranks come here.
        except Exception as error:  # noqa: BLE001 - the user's network answers the tests, and may raise anything
            self.is_off = True
            self._messages.warn(
                f"shortcut tests are switched off in epoch {self._trainer.current_epoch}; maps, pictures and "
                f"scalars go on, and the scalars of cues stay as they are ({type(error).__name__}: {error}). "
                "Mend what it names, or leave the tests out with shortcuts=None"
            )

    def _test(
        self,
        record: RunRecord,
        probe: Probe,
        explanation: Explanation,
        when: str,
        destination: Destination,
        tests: ShortcutTests,
    ) -> None:
        told = self._collection.cues.told(self._ranks, explanation.scores.shape[1])
        if told is None:
            self._messages.tell(NOT_YET)
            return
        report = self._report(record, probe, explanation, told)
        warned = {finding.key for finding in record.findings if finding.level == "warning"}
        record.judge(report, self._trainer.current_epoch, tests.expected, tests.may_warn)
        # Which cues small images have not is said by the report: nobody can mend it.
        of_size = {unfit(row, explanation.images) for row in self._settings.cues.values()}
        for note in report.notes:
            if note not in of_size:
                self._messages.tell(f"shortcut tests: {note}")
        self._ranks.together(
            lambda: self._publisher.show_findings(report, when, explanation.normalization, destination)
        )
        for may_warn in (True, False):
            self._notice(
                [one for one in record.findings if one.level == "notice" and one.may_warn == may_warn]
            )
        self._alert(
            [one for one in record.findings if one.level == "warning" and one.key not in warned], tests
        )

    def _report(
        self, record: RunRecord, probe: Probe, explanation: Explanation, told: Told
    ) -> ShortcutReport:
        images, ranks, cues = explanation.images, self._ranks, self._settings.cues
        labels = check_subjects(probe, explanation.task).to(images.device)
        masks = None if probe.masks is None else probe.masks.to(images.device)
        # Rank zero's, as ranks whose kernels round otherwise would share out other images.
        scores = ranks.from_zero(lambda: explanation.scores.cpu()).to(images.device)
        answered = scores.argmax(dim=1)
        whole = TestedProbe(images, answered, answered, masks, scores.shape[1], ranks)
        if TASKS[explanation.task].several:
            views = ranks.together(lambda: label_views(whole, labels, scores, told))
        else:
            views = [replace(whole, labels=labels)]
        tells = [told[view.column or 0] for view in views]

        def report_with(batch: int) -> ShortcutReport:
            with self._runner.asking(images, batch) as ask:
                asking = Asking(ask, batch)
                report = examine(views, asking, cues, tells, probe.class_names)
                return report if record.tests else observe(report, asking)

        return self._runner.where_it_fits(self._collection.batch_size, report_with)

    def _notice(self, findings: Sequence[Finding]) -> None:
        """Each finding once, those of one look together."""
        new = [finding for finding in findings if finding.key not in self._noticed]
        if not new:
            return
        self._noticed.update(finding.key for finding in new)
        follows = (
            "If the next look finds it again, this becomes a warning."
            if new[0].may_warn
            else "It stays a notice, as honest models may use this cue as well; to be warned of it: "
            f"ShortcutTests(may_warn={_cues_of(new)})."
        )
        self._messages.tell(f"Notice, a possible shortcut: {_together(new)} {follows}")

    def _alert(self, findings: Sequence[Finding], tests: ShortcutTests) -> None:
        """Those of one look in one warning, as one thing in the images is often seen by several cues."""
        if not findings:
            return
        self._messages.warn(
            f"Possible shortcut: {_together(findings)} See the picture {self._settings.name}/{ALERT}. "
            f"If the model should use it: ShortcutTests(expected={_cues_of(findings)}).",
            about=f"shortcut {[finding.key for finding in findings]}",
        )
        for finding in findings:
            self._act(finding, tests)

    def _act(self, finding: Finding, tests: ShortcutTests) -> None:
        """What the user asked for where there is a warning."""
        if tests.on_alert == "stop":
            self._trainer.should_stop = True
        elif callable(tests.on_alert) and self._trainer.is_global_zero:
            try:
                tests.on_alert(finding)
            except Exception as error:  # noqa: BLE001 - whatever the user's function raises, the training goes on
                self._messages.warn(
                    f"on_alert: your function raised {type(error).__name__}: {error}; mend it. "
                    "Looks and tests go on"
                )


def _together(findings: Sequence[Finding]) -> str:
    """The first in full, the others by name."""
    first, *others = findings
    said = first.statement[:1].lower() + first.statement[1:]
    if not others:
        return said
    named = ", ".join(f"{other.subject} ({100 * other.reliance:.0f} points)" for other in others)
    return f"{said} Other cues show it too, perhaps for the same reason: {named}."


def _cues_of(findings: Sequence[Finding]) -> list[str]:
    return list(dict.fromkeys(finding.cue for finding in findings))
