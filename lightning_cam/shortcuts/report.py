"""What transplants showed: every test, findings, a table, and pictures of the evidence."""

from dataclasses import dataclass, field

import torch
from PIL.Image import Image
from torch import Tensor

from lightning_cam.checks import Normalization, class_name
from lightning_cam.shortcuts.counts import Counts
from lightning_cam.shortcuts.cues import Cue
from lightning_cam.shortcuts.features import GRID
from lightning_cam.shortcuts.findings import Finding, FindingKey
from lightning_cam.shortcuts.pairing import Pairing, TestedProbe, transplants
from lightning_cam.visualization.canvas import DrawOne, drawable
from lightning_cam.visualization.shortcut import ClassRow, Triple, draw_sheet

TRIPLES = 4
MOST_FOLLOWED = 8  # classes that a finding's text names


@dataclass(frozen=True, eq=False)
class Result:
    """One cue's test.

    Args:
        cue: A key of ``CUES``.
        row: Its row.
        label: The only class that gave the cue; None where all did.
        tally: The counts.
        pairs: Who received from whom.
        predicted: (m,) what the model answered.
        confidence: (m,) the probabilities of these answers, in [0, 1].
        by_class: The counts of each class that gave the cue.
        p_value: Adjusted for all tests of the look.
    """

    cue: str
    row: Cue
    label: int | None
    tally: Counts
    pairs: Pairing
    predicted: Tensor
    confidence: Tensor
    by_class: dict[int, Counts]
    p_value: float = 1.0

    @property
    def key(self) -> FindingKey:
        """What tells the tests of one look apart."""
        return self.cue, self.label

    @property
    def winning(self) -> list[int]:
        """The classes whose cue wins more of its conflicts than the row allows."""
        return [label for label, own in self.by_class.items() if own.dominance > own.null]

    @property
    def holds(self) -> bool:
        """Whether the rule holds."""
        return self.tally.holds(self.p_value)


@dataclass(frozen=True, eq=False)
class ShortcutReport:
    """What transplants showed.

    Args:
        results: Every test that was made.
        subjects: The probe as it was tested.
        class_names: One name per class, or None.
        passes: Images sent through the model, as a multiple of the probe.
        notes: What could not be tested, and what it needs.
        pointed: The test of stage 1 that stage 2 followed, or would have followed; None where nothing was
            clear.
        offers: How well a cue's own features tell the label, no model asked: 1 always, 0 as chance does.
            Empty if not measured.
        agreement: Cohen's kappa between the answers to a part of each image and to the whole. Empty if not
            measured.
    """

    results: tuple[Result, ...]
    subjects: TestedProbe
    class_names: tuple[str, ...] | None
    passes: float
    notes: tuple[str, ...]
    pointed: FindingKey | None = None
    offers: dict[str, float] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Cues whose rule holds, those that may warn first, then the strongest."""
        return tuple(
            sorted(
                (self._finding(result) for result in self.results if result.holds),
                key=lambda finding: finding.rank,
            )
        )

    @property
    def dominances(self) -> dict[str, float]:
        """Each cue's dominance, the larger where one class was tested too; NaN where there was no
        conflict.
        """
        found: dict[str, float] = {}
        for result in self.results:
            known = found.get(result.cue, float("nan"))
            found[result.cue] = result.tally.dominance if not known >= result.tally.dominance else known
        return found

    @property
    def complete(self) -> bool:
        """Whether stage 2 was made."""
        return any(result.row.stage == 2 for result in self.results)

    @property
    def hosts(self) -> int:
        """How many images the model gets right."""
        return int(self.subjects.right.sum())

    @property
    def cells(self) -> list[list[float]] | None:
        """The 4 x 4 map of dominance; None where no cell was tested."""
        found = {
            result.cue: result.tally.dominance for result in self.results if result.cue.startswith("cell_")
        }
        if not found:
            return None
        return [
            [found.get(f"cell_{row}_{column}", float("nan")) for column in range(GRID)] for row in range(GRID)
        ]

    def name(self, label: int) -> str:
        """The class' name, or its number."""
        return class_name(self.class_names, label)

    def table(self) -> str:
        """Every test, as text."""
        lines = [f"{'cue':16s} {'class':12s} tier  donor  host  third  dominance  effect        p"]
        # Without a conflict there is no dominance, and what is not a number has no place in an order.
        strengths = {
            result.key: result.tally.dominance if result.tally.donor else 0.0 for result in self.results
        }
        for result in sorted(self.results, key=lambda result: (not result.holds, -strengths[result.key])):
            count, whose = result.tally, "all" if result.label is None else self.name(result.label)[:12]
            counted = (
                f"{count.donor:5d} {count.host:5d}  {count.third:5d}  "
                f"{count.dominance:9.2f}  {count.effect:6.2f}"
            )
            named = f"{result.cue:16s} {whose:12s} {result.row.tier:>4s}"
            holds = "holds" if result.holds else ""
            lines.append(f"{named}  {counted}  {result.p_value:7.1g}  {holds}".rstrip())
        tested = (
            f"{self.hosts} of {len(self.subjects.labels)} images were right and were hosts; "
            f"{self.passes:.1f} forward passes"
        )
        observed = {
            "the data alone tell the label by": self.offers,
            "the model agrees with itself (kappa) on": self.agreement,
        }
        without_alarm = [
            f"without alarm: {what} {', '.join(f'{name} {value:.2f}' for name, value in values.items())}"
            for what, values in observed.items()
            if values
        ]
        return "\n".join([*lines, f"{tested} of the probe.", *self.notes, *without_alarm])

    def following(self, finding: Finding) -> str:
        """Whose cue wins how many of its conflicts: at most eight classes, those that win the largest share
        first.
        """
        classes = [
            (label, own) for label, own in self.result_of(finding).by_class.items() if own.donor + own.host
        ]
        first = sorted(classes, key=lambda row: -row[1].dominance)[:MOST_FOLLOWED]
        return "; ".join(f"{self.name(label)}: donor {own.donor}, host {own.host}" for label, own in first)

    def result_of(self, finding: Finding) -> Result:
        """The test behind a finding."""
        return next(result for result in self.results if result.key == finding.key)

    def picture(self, finding: Finding, when: str, normalization: Normalization | None) -> Image:
        """The evidence, as ``drawing`` draws it."""
        return self.drawing(finding, when, normalization)()

    def drawing(self, finding: Finding, when: str, normalization: Normalization | None) -> DrawOne:
        """Draws hosts, donors and transplants with the model's answers, the mean pattern, the cells, the
        table of classes.
        """
        result, subjects = self.result_of(finding), self.subjects
        hosts, donors = result.pairs.hosts, result.pairs.donors
        wins = result.predicted == subjects.labels[donors]
        # The clearest first, each of another donor class where there are as many.
        order = sorted(wins.nonzero()[:, 0].tolist(), key=lambda i: -float(result.confidence[i]))
        by_class = {int(subjects.labels[donors[i]]): i for i in reversed(order)}
        chosen = torch.tensor(
            list(dict.fromkeys([*reversed(by_class.values()), *order]))[:TRIPLES], device=hosts.device
        )
        shown = Pairing(hosts[chosen], donors[chosen])
        made = torch.cat([rows for rows, _ in transplants(result.row, subjects, shown, len(chosen))])
        given = subjects.images[shown.donors]
        pattern, names = subjects.images[:0].float(), []
        if result.row.feature == "image":
            classes = subjects.labels[shown.donors].unique().tolist()
            means = {
                label: subjects.means.of("image", subjects.labels.new_tensor([label]))
                for label in subjects.means.counts
            }
            everyone = torch.cat(list(means.values())).nanmean(dim=0, keepdim=True)
            pattern = torch.cat([(means[label] - everyone).nan_to_num(0.0) for label in classes])
            names = [f"{self._drawn(label)} less the mean of all" for label in classes]
        triples = [
            Triple(
                self._drawn(int(subjects.labels[hosts[i]])),
                self._drawn(int(subjects.labels[donors[i]])),
                self._drawn(int(result.predicted[i])),
                float(result.confidence[i]),
                follows=True,
            )
            for i in chosen.tolist()
        ]
        rows = [
            ClassRow(self._drawn(label), own.dominance, own.donor, own.host, label in result.winning)
            for label, own in result.by_class.items()
        ]
        header = (f"shortcut · {when} · {finding.level}", f"{finding.statement}: {result.row.meaning}.")
        return draw_sheet(
            subjects.images[shown.hosts],
            given,
            made,
            triples,
            pattern,
            names,
            self.cells,
            rows,
            header,
            normalization,
        )

    def _drawn(self, label: int) -> str:
        name = self.name(label)
        return name if drawable(name) else f"class {label}"

    def _finding(self, result: Result) -> Finding:
        count = result.tally
        classes = tuple(self.name(label) for label in result.winning)
        return Finding(
            result.cue,
            result.row.tier,
            "notice",
            count.dominance,
            count.donor,
            count.host,
            result.p_value,
            classes,
            result.label,
        )
