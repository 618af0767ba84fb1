"""The record of a run: the probe, the looks at it, what was found. The report shows it, a checkpoint keeps
it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_cam.attribution.closeness import LayerNote
from lightning_cam.checks import class_name
from lightning_cam.data.history import History, Look, history_from
from lightning_cam.data.probe import Probe, probe_from
from lightning_cam.data.reading import Reading
from lightning_cam.report.evidence_images import EvidenceImages
from lightning_cam.shortcuts.findings import Finding, findings_from, findings_state, follow
from lightning_cam.shortcuts.report import ShortcutReport
from lightning_cam.typing import Truth

STATE_VERSION = 5
SUMMARY = "shortcut_reliance"  # the scalar that sums up the tests
ALERT = "alert"  # the tag of the picture of a finding: loggers sort by name, so it comes first
ACCURACY = "probe_accuracy"
MOST_TESTED_LOOKS = 200
MOST_METRICS = 12


@dataclass(frozen=True, eq=False)
class Unseen:
    """What is known of a probe whose images were kept away.

    Args:
        size: Sides of the images; empty where nobody knows them.
        labels: As ``Probe`` has them, or None.
        class_names: One name per class, or None.
    """

    size: tuple[int, ...] = ()
    labels: Truth | None = None
    class_names: tuple[str, ...] | None = None

    def name(self, label: int) -> str:
        """The class' name, or its number."""
        return class_name(self.class_names, label)


@dataclass
class RunRecord:
    """What one run has shown so far.

    Args:
        probe: The images that are looked at; None until they are chosen, or where a checkpoint left them out.
        unseen: What is known of the probe where its images were left out.
        history: Past looks, the untrained model first.
        scalars: The last finite value of every scalar, by name without the monitor's prefix.
        findings: What the last tests found, warnings first.
        predictivities: By cue, Cohen's kappa with which it tells the label without the model, in [-1, 1]; of
            several labels per image the largest.
        reliances: Of each tested look its epoch and, by cue that the model was asked about, the share of
            accuracy lost, in [-1, 1]; at most 200 looks, the first and the last among them.
        notes: What the last tests could not test, and what it needs.
        evidence: The latest picture of each finding.
        settings: What the last look asked and how it was drawn, as primitives.
        tests: At how many looks shortcuts were looked for.
        tested: On how many images they were last looked for, those that are answered rightly, and of how
            many.
        reading: What is explained, and how that was verified.
        metrics: By the step of a look, what the user's own validation logged there, by name.
    """

    probe: Probe | None = None
    unseen: Unseen = Unseen()
    history: History = field(default_factory=History)
    scalars: dict[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    predictivities: dict[str, float] = field(default_factory=dict)
    reliances: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    evidence: EvidenceImages = field(default_factory=EvidenceImages)
    settings: dict[str, Any] = field(default_factory=dict)
    tests: int = 0
    tested: tuple[int, int] | None = None
    reading: Reading | None = None
    metrics: dict[int, dict[str, float]] = field(default_factory=dict)

    @property
    def subject(self) -> Probe | Unseen:
        """The probe, or what is known of it."""
        return self.probe or self.unseen

    @property
    def has_looked(self) -> bool:
        """Whether a look has come, after which every scalar has a value."""
        return "blank" in self.scalars

    def take(self, probe: Probe) -> None:
        """The probe that is looked at from now on."""
        self.probe = probe

    def drop_probe(self) -> None:
        """Another one will be chosen."""
        self.probe = None

    def read(self, reading: Reading) -> None:
        """What was seen of the user's validation step."""
        self.reading = reading

    def note(self, notes: Sequence[LayerNote]) -> None:
        """What was found of the layers that are looked at."""
        if self.reading is not None:
            self.reading = self.reading.noted(
                [note.sentence for note in notes if not note.is_fault],
                [note.sentence for note in notes if note.is_fault],
            )

    def forget_looks(self) -> None:
        """Past looks, and their tests, are of other images, or asked something else."""
        self.history, self.scalars, self.metrics = History(), {}, {}
        self.findings, self.predictivities, self.reliances, self.notes = (), {}, [], ()
        self.tests, self.tested = 0, None
        self.evidence.only(())

    def start(self, untrained: Look) -> None:
        """The look at the untrained model."""
        self.history = self.history.added(untrained)

    def add(self, look: Look, blank: float, settings: Mapping[str, Any] | None) -> None:
        """One look more.

        Args:
            blank: Share of its maps that show nothing, in [0, 1].
            settings: What it asked; None outside a fit, where its scalars alone are kept.
        """
        self.keep(look.means)
        self.scalars["blank"] = blank
        known = look.right[look.right.isfinite()]
        if len(known):  # else nobody knows what is right, or nothing is right or wrong
            self.scalars[ACCURACY] = known.double().mean().item()
        if settings is not None:
            self.history = self.history.added(look)
            self.settings = dict(settings)

    def keep(self, scalars: Mapping[str, float]) -> None:
        """The last finite values: a scalar that others watch is never NaN and never missing; 0 before one."""
        for name, value in scalars.items():
            self.scalars[name] = value if math.isfinite(value) else self.scalars.get(name, 0.0)

    def beside_look(self, logged: Callable[[], Mapping[str, float]]) -> None:
        """What the user's own validation logged at the last look, the first twelve names; asked for once a
        look.
        """
        looks = [look.step for look in self.history.looks if look.epoch >= 0]
        if looks and looks[-1] not in self.metrics:
            finite = {name: value for name, value in sorted(logged().items()) if math.isfinite(value)}
            kept = {step: found for step, found in self.metrics.items() if step in looks}
            self.metrics = {**kept, looks[-1]: dict(list(finite.items())[:MOST_METRICS])}

    def judge(
        self,
        report: ShortcutReport,
        epoch: int,
        expected: Sequence[str] = (),
        may_warn: Sequence[str] = (),
    ) -> None:
        """What one look's shortcut tests showed, beside what earlier ones did.

        Args:
            expected: Cues, or prefixes, that the model may use.
            may_warn: Appearance cues, or prefixes, that may warn.
        """
        self.tests += 1
        self.tested = report.hosts, len(report.views[0].labels) if report.views else 0
        self.findings = follow(self.findings, report.findings, epoch, expected, may_warn)
        self.evidence.only(finding.key for finding in self.findings)
        self.predictivities, self.notes = report.predictivities, report.notes
        reliances = report.reliances
        looks = [*self.reliances, (epoch, reliances)]
        # When full, every second one is dropped, never the first.
        self.reliances = looks if len(looks) <= MOST_TESTED_LOOKS else [*looks[:-1:2], looks[-1]]
        largest = max((one.reliance for one in self.findings if one.level != "expected"), default=0.0)
        self.keep({f"shortcut/{cue}": value for cue, value in reliances.items()})
        self.keep({f"agreement/{name}": value for name, value in report.agreement.items()})
        self.keep({SUMMARY: largest})

    def state(self, with_images: bool) -> dict[str, Any]:
        """Plain tensors and primitives that ``record_from`` reads, all but the probe's images."""
        subject = self.subject
        size = tuple(subject.images.shape[2:]) if isinstance(subject, Probe) else subject.size
        return {
            "version": STATE_VERSION,
            "history": self.history.state(),
            "scalars": dict(self.scalars),
            "tests": self.tests,
            "tested": self.tested,
            "settings": dict(self.settings),
            "evidence": self.evidence.state() if with_images else [],
            "size": size,
            "labels": None if subject.labels is None else subject.labels.cpu(),
            "class_names": subject.class_names,
            "findings": findings_state(self.findings),
            "predictivities": dict(self.predictivities),
            "reliances": list(self.reliances),
            "notes": self.notes,
            "metrics": {step: dict(found) for step, found in self.metrics.items()},
            "reading": None if self.reading is None else vars(self.reading),
        }


def record_from(state: Mapping[str, Any], with_images: bool = True) -> RunRecord:
    """The record that ``RunRecord.state`` wrote, with the probe that stands beside it under "probe"."""
    kept = state.get("probe") if with_images else None
    return RunRecord(
        probe=None if kept is None else probe_from(kept),
        unseen=Unseen(tuple(state["size"]), state["labels"], state["class_names"]),
        history=history_from(state["history"]),
        scalars=dict(state["scalars"]),
        findings=findings_from(state["findings"]),
        predictivities=dict(state["predictivities"]),
        reliances=list(state["reliances"]),
        notes=tuple(state["notes"]),
        evidence=EvidenceImages(state["evidence"] if with_images else ()),
        settings=dict(state["settings"]),
        tests=state["tests"],
        tested=state["tested"],
        metrics={step: dict(found) for step, found in state["metrics"].items()},
        reading=None if state["reading"] is None else Reading(**state["reading"]),
    )


def state_of_run(record: RunRecord, probe: dict[str, Any] | None, asked: str) -> dict[str, Any]:
    """What a checkpoint keeps of a run.

    Args:
        probe: As ``Probe.state`` has it; None where the images stay away.
        asked: What the looks ask, in words: looks that asked something else are not continued.
    """
    if record.probe is None:
        return {}
    known = {"asked": asked, "fingerprint": record.probe.fingerprint, "probe": probe}
    return {**record.state(with_images=probe is not None), **known}
