"""One look's shortcut tests: made, tracked over looks, told."""

import math

from lightning_cam.attribution.task import REGRESSION, TASKS
from lightning_cam.callbacks.collection import Collection
from lightning_cam.callbacks.lightning import Trainer
from lightning_cam.callbacks.messages import Messages
from lightning_cam.callbacks.publisher import Publisher
from lightning_cam.callbacks.runner import Runner
from lightning_cam.callbacks.scalars import OBSERVED
from lightning_cam.callbacks.settings import Settings, ShortcutTests
from lightning_cam.data.probe import Probe
from lightning_cam.distributed import Ranks
from lightning_cam.explanation import Explanation
from lightning_cam.loggers.publish import Destination
from lightning_cam.report.record import RunRecord
from lightning_cam.shortcuts.examine import check_subjects
from lightning_cam.shortcuts.examine_labels import examine_task, label_subjects
from lightning_cam.shortcuts.findings import Finding
from lightning_cam.shortcuts.pairing import TestedProbe
from lightning_cam.shortcuts.partial_input import observe
from lightning_cam.shortcuts.report import ShortcutReport

NO_CLASSES = (
    "no shortcut tests, as your network answers a number, and they count classes. "
    "Maps, pictures and scalars are made as ever"
)


class ShortcutWatch:
    """Transplants cues between the probe's images at a look, and tells of those that decide.

    Args:
        settings: Which cues are tested.
        trainer: Stops where a warning asks for it.
        ranks: The processes that test together.
        collection: Has the averages of classes.
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
        self.is_off = False

    def test(
        self,
        record: RunRecord,
        probe: Probe,
        explanation: Explanation,
        when: str,
        thorough: bool,
        destination: Destination,
    ) -> None:
        """One look's tests: a collective. An error switches the tests off, on all ranks, and nothing else."""
        tests = self._settings.tests
        if tests is None or self.is_off:
            return
        if explanation.task == REGRESSION.name:
            self._messages.tell(NO_CLASSES)
            return
        try:
            check_subjects(probe, explanation.task)
        except ValueError as error:
            self._messages.warn(f"no shortcut tests: {error}")
            return
        try:
            self._test(record, probe, explanation, when, thorough, destination, tests)
        # Whatever one rank alone may meet runs in ``Ranks.together``, so that all ranks come here.
        except Exception as error:  # noqa: BLE001 - the user's network answers the tests, and may raise anything
            self.is_off = True
            awaited = [*self._of_cues(probe, explanation), *OBSERVED]  # others may watch them
            record.keep(dict.fromkeys(awaited, math.nan))
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
        thorough: bool,
        destination: Destination,
        tests: ShortcutTests,
    ) -> None:
        report = self._report(record, probe, explanation, thorough)
        before = {finding.key for finding in record.tracker.findings if finding.level == "warning"}
        self._keep(record, report, probe, explanation, thorough, tests)
        for note in report.notes:
            self._messages.tell(f"shortcut tests: {note}")
        keys = {finding.key for finding in report.findings}
        now = [finding for finding in record.tracker.findings if finding.key in keys]
        self._ranks.together(
            lambda: self._publisher.show_findings(report, now, when, explanation.normalization, destination)
        )
        for finding in now:
            if finding.level == "warning" and finding.key not in before:
                self._alert(finding, tests)

    def _report(
        self, record: RunRecord, probe: Probe, explanation: Explanation, thorough: bool
    ) -> ShortcutReport:
        images, ranks, cues = explanation.images, self._ranks, self._settings.cues
        labels = check_subjects(probe, explanation.task).to(images.device)
        masks = None if probe.masks is None else probe.masks.to(images.device)
        saliency = ranks.together(lambda: explanation.saliency)
        classes = explanation.scores.shape[1]
        if TASKS[explanation.task].several:
            # Rank zero's, as ranks whose kernels round otherwise would share out other transplants.
            scores = ranks.from_zero(lambda: explanation.scores.cpu()).to(images.device)
            subjects = ranks.together(
                lambda: label_subjects(images, labels, scores, masks, saliency, cues, ranks)
            )
        else:
            predicted = ranks.from_zero(lambda: explanation.scores.argmax(dim=1).cpu()).to(images.device)
            means = self._collection.class_means(ranks, probe, images, masks)
            subjects = TestedProbe(
                images, labels, predicted, masks, saliency, means, among=False, ranks=ranks
            )

        def report_with(batch: int) -> ShortcutReport:
            with self._runner.asking(images, batch) as ask:
                report = examine_task(
                    subjects,
                    ask,
                    cues,
                    classes=classes,
                    max_batch=batch,
                    class_names=probe.class_names,
                    thorough=thorough,
                    tracker=record.tracker,
                )
                if not thorough and record.tests:
                    return report
                return observe(report, ask, classes=classes, max_batch=batch)

        return self._runner.where_it_fits(self._collection.batch_size, report_with)

    def _keep(
        self,
        record: RunRecord,
        report: ShortcutReport,
        probe: Probe,
        explanation: Explanation,
        thorough: bool,
        tests: ShortcutTests,
    ) -> None:
        # What watches the scalar of a cue that is tested at a later look only must find it from the first
        # look on.
        record.keep(dict.fromkeys(self._of_cues(probe, explanation), math.nan))
        record.judge(
            report.dominances,
            report.findings,
            self._trainer.current_epoch,
            is_complete=thorough or report.complete,
            pointed=report.pointed,
            tested=(report.hosts, len(probe)),
            expected=tests.expected,
            may_warn=tests.may_warn,
        )
        for kind, values in (("offer", report.offers), ("agreement", report.agreement)):
            record.keep({f"{kind}/{name}": value for name, value in values.items()})

    def _of_cues(self, probe: Probe, explanation: Explanation) -> list[str]:
        """The scalars of cues that can be tested on this probe."""
        rows = self._settings.cues.items() if explanation.images.ndim == 4 else ()
        return [f"shortcut/{cue}" for cue, row in rows if row.needs != "masks" or probe.masks is not None]

    def _alert(self, finding: Finding, tests: ShortcutTests) -> None:
        self._messages.warn(
            f"{finding.statement}. It says what decides, not whether it may: "
            f"ShortcutTests(expected=[{finding.cue!r}]) if so"
        )
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
