"""One look's shortcut tests: made, followed over looks, told."""

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
from lightning_cam.report.record import RunRecord
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
        for finding in record.findings:
            if finding.level == "notice":
                self._notice(finding)
            elif finding.level == "warning" and finding.key not in warned:
                self._alert(finding, tests)

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

    def _notice(self, finding: Finding) -> None:
        """Once a finding of which no warning will come; one that may become a warning is in the texts."""
        if finding.may_warn or finding.key in self._noticed:
            return
        self._noticed.add(finding.key)
        self._messages.tell(
            f"Notice, a possible shortcut: {_after_colon(finding.statement)} It stays a notice, as honest "
            f"models may use this cue as well; to be warned of it: ShortcutTests(may_warn=[{finding.cue!r}])."
        )

    def _alert(self, finding: Finding, tests: ShortcutTests) -> None:
        self._messages.warn(
            f"Possible shortcut: {_after_colon(finding.statement)} See the picture "
            f"{self._settings.name}/shortcut. If the model should use it: "
            f"ShortcutTests(expected=[{finding.cue!r}]).",
            about=f"shortcut {finding.key}",
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


def _after_colon(statement: str) -> str:
    return statement[:1].lower() + statement[1:]
