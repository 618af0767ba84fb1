"""What transplants showed: every test, findings, a table, and pictures of the evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from PIL.Image import Image
from torch import Tensor

from lightning_cam.checks import Normalization, class_name
from lightning_cam.shortcuts.features import GRID
from lightning_cam.shortcuts.findings import Finding, FindingKey
from lightning_cam.shortcuts.label_effects import LabelEffects
from lightning_cam.shortcuts.pairing import Pairing, TestedProbe, transplants
from lightning_cam.shortcuts.result import Result
from lightning_cam.visualization.canvas import DrawOne, drawable
from lightning_cam.visualization.shortcut import ClassRow, Triple, draw_sheet

TRIPLES = 4
MOST_FOLLOWED = 8  # classes that a finding's text names


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
        label_offers: Of several labels per image each one's, by label and name; ``offers`` has the largest.
        label_agreement: Likewise.
    """

    results: tuple[Result, ...]
    subjects: TestedProbe
    class_names: tuple[str, ...] | None
    passes: float
    notes: tuple[str, ...]
    pointed: FindingKey | None = None
    offers: dict[str, float] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    label_offers: dict[int, dict[str, float]] = field(default_factory=dict)
    label_agreement: dict[int, dict[str, float]] = field(default_factory=dict)

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
        """Each cue's dominance, the larger where one class was tested too, and of several labels that of the
        clearest test; NaN where there was no conflict.
        """
        if self.subjects.columns is not None:
            order = sorted(self.results, key=lambda result: (-result.tally.p_value, result.tally.donor))
            return {result.cue: result.tally.dominance for result in order}
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
        """How many images the model gets right, of several labels in one of them at least."""
        return self.subjects.hosts

    @property
    def cells(self) -> list[list[float]] | None:
        """The 4 x 4 map of dominance; None where no cell was tested, or each label has a map of its own."""
        return self._cells([result for result in self.results if self.subjects.columns is None])

    def _cells(self, results: Sequence[Result]) -> list[list[float]] | None:
        found = {result.cue: result.tally.dominance for result in results if result.cue.startswith("cell_")}
        if not found:
            return None
        return [
            [found.get(f"cell_{row}_{column}", float("nan")) for column in range(GRID)] for row in range(GRID)
        ]

    def name(self, label: int) -> str:
        """The class' name, or its number."""
        return class_name(self.class_names, label)

    def name_of(self, result: Result, key: int) -> str:
        """What a key of ``result.by_class`` is called."""
        if self.subjects.columns is None or result.label is None:
            return self.name(key)
        return f"{'with' if key else 'without'} {self.name(result.label)}"

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
        observed = [
            ("the data alone tell the label by", self.offers),
            ("the model agrees with itself (kappa) on", self.agreement),
        ]
        if self.subjects.columns is not None:
            tell, agree = self.label_offers.items(), self.label_agreement.items()
            observed = [
                *((f"the data alone tell {self.name(label)} by", values) for label, values in tell),
                *(
                    (f"of {self.name(label)} the model agrees with itself (kappa) on", values)
                    for label, values in agree
                ),
            ]
        without_alarm = [
            f"without alarm: {what} {', '.join(f'{name} {value:.2f}' for name, value in values.items())}"
            for what, values in observed
            if values
        ]
        return "\n".join([*lines, f"{tested} of the probe.", *self.notes, *without_alarm])

    def following(self, finding: Finding) -> str:
        """Whose cue wins how many of its conflicts: at most eight classes, those that win the largest share
        first.
        """
        result = self.result_of(finding)
        classes = [(label, own) for label, own in result.by_class.items() if own.donor + own.host]
        first = sorted(classes, key=lambda row: -row[1].dominance)[:MOST_FOLLOWED]
        return "; ".join(
            f"{self.name_of(result, label)}: donor {own.donor}, host {own.host}" for label, own in first
        )

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
        columns = subjects.columns
        place = None if columns is None or result.label is None else columns.index(result.label)
        known = subjects.labels if place is None else subjects.labels[:, place]
        wins = result.predicted == known[donors]
        # The clearest first, each of another donor class where there are as many.
        order = sorted(wins.nonzero()[:, 0].tolist(), key=lambda i: -float(result.confidence[i]))
        by_class = {int(known[donors[i]]): i for i in reversed(order)}
        chosen = torch.tensor(
            list(dict.fromkeys([*reversed(by_class.values()), *order]))[:TRIPLES], device=hosts.device
        )
        shown = Pairing(hosts[chosen], donors[chosen])
        made = torch.cat([rows for rows, _ in transplants(result.row, subjects, shown, len(chosen))])
        pattern, names = self._pattern(result, shown, place)
        triples = [
            Triple(
                self._drawn(result, int(known[hosts[i]])),
                self._drawn(result, int(known[donors[i]])),
                self._drawn(result, int(result.predicted[i])),
                float(result.confidence[i]),
                follows=True,
            )
            for i in chosen.tolist()
        ]
        rows = [
            ClassRow(self._drawn(result, label), own.dominance, own.donor, own.host, label in result.winning)
            for label, own in result.by_class.items()
        ]
        header = (f"shortcut · {when} · {finding.level}", f"{finding.statement}: {result.row.meaning}.")
        cells = self._cells([other for other in self.results if other.label == result.label or place is None])
        return draw_sheet(
            subjects.images[shown.hosts],
            subjects.images[shown.donors],
            made,
            triples,
            pattern,
            names,
            cells,
            rows,
            header,
            normalization,
        )

    def _pattern(self, result: Result, shown: Pairing, place: int | None) -> tuple[Tensor, list[str]]:
        """What average images differ by, and what it is called; nothing where the cue is of another kind."""
        subjects = self.subjects
        means = subjects.means
        if result.row.feature != "image":
            return subjects.images[:0].float(), []
        if isinstance(means, LabelEffects):
            label = self._drawn(result, 1).removeprefix("with ")
            return means.effect("image", place or 0).nan_to_num(0.0), [f"what {label} adds"]
        classes = subjects.labels[shown.donors].unique().tolist()
        each = {label: means.of("image", subjects.labels.new_tensor([label])) for label in means.counts}
        everyone = torch.cat(list(each.values())).nanmean(dim=0, keepdim=True)
        pattern = torch.cat([(each[label] - everyone).nan_to_num(0.0) for label in classes])
        return pattern, [f"{self._drawn(result, label)} less the mean of all" for label in classes]

    def _drawn(self, result: Result, key: int) -> str:
        name = self.name_of(result, key)
        if drawable(name):
            return name
        is_label = self.subjects.columns is not None
        return f"{'with' if key else 'without'} label {result.label}" if is_label else f"class {key}"

    def _finding(self, result: Result) -> Finding:
        count = result.tally
        classes = tuple(self.name_of(result, label) for label in result.winning)
        is_label = self.subjects.columns is not None and result.label is not None
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
            of=self.name(result.label) if is_label and result.label is not None else "",
        )
