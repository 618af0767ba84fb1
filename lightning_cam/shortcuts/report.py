"""What a look's shortcut tests showed: every test, findings, a table, and pictures of the evidence."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from PIL.Image import Image

from lightning_cam.checks import Normalization, class_name
from lightning_cam.shortcuts.cue_images import Conflicts
from lightning_cam.shortcuts.features import GRID
from lightning_cam.shortcuts.findings import Finding, FindingKey
from lightning_cam.shortcuts.pairing import TestedProbe, swapped
from lightning_cam.shortcuts.predictivity import Predictivity
from lightning_cam.shortcuts.result import Result
from lightning_cam.shortcuts.rule import least_predictivity
from lightning_cam.visualization.canvas import DrawOne
from lightning_cam.visualization.letters import drawable
from lightning_cam.visualization.shortcut import OF_ALL, OF_ONE_CLASS, ClassRow, Swap, draw_shortcut

MOST_ROWS = 4  # of images in a picture
NAMED = 0.5  # of the largest loss or pull: classes that a finding names
MOST_NAMED = 8


@dataclass(frozen=True, eq=False)
class ShortcutReport:
    """What the tests showed.

    Args:
        results: Every test that was made.
        views: The probe as it was tested; of several labels per image one for each label.
        told: For each view, how well each cue tells the label, no model asked.
        class_names: One name per class, or None.
        notes: What could not be tested, and what it needs.
        agreement: Cohen's kappa between the answers to a part of each image and to the whole. Empty if not
            measured.
    """

    results: tuple[Result, ...]
    views: tuple[TestedProbe, ...]
    told: tuple[Mapping[str, Predictivity], ...]
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...]
    agreement: dict[str, float] = field(default_factory=dict)
    extra_passes: int = 0
    conflicts: dict[FindingKey, Conflicts] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Cues whose rule holds, those that may warn first, then the strongest; a cue of all classes together
        says all that its single classes would.
        """
        holding = [result for result in self.results if result.holds]
        together = {result.cue for result in holding if not result.is_one_class}
        found = [
            self._finding(result)
            for result in holding
            if not (result.is_one_class and result.cue in together)
        ]
        return tuple(sorted(found, key=lambda finding: finding.rank))

    @property
    def predictivities(self) -> dict[str, float]:
        """By cue, Cohen's kappa with which it tells the label without the model; of labels the largest."""
        found: dict[str, float] = {}
        for told in self.told:
            for name, one in told.items():
                found[name] = max(one.kappa, found.get(name, one.kappa))
        return found

    @property
    def reliances(self) -> dict[str, float]:
        """By cue that the model was asked about, points of accuracy as a share in [-1, 1]; the largest where
        it was asked of several classes or labels. A cue that is missing was not tested.
        """
        found: dict[str, float] = {}
        for result in self.results:
            found[result.cue] = max(result.reliance.points, found.get(result.cue, result.reliance.points))
        return found

    @property
    def passes(self) -> float:
        """Images sent through the model, as a multiple of the probe."""
        shown = sum(2 * len(result.swaps.own) for result in self.results)
        return shown / max(1, len(self.views[0].labels) if self.views else 1) + self.extra_passes

    @property
    def hosts(self) -> int:
        """How many images the model gets right, of several labels in one of them at least."""
        if not self.views:
            return 0
        return int(torch.stack([view.right for view in self.views]).any(dim=0).sum())

    def cells_of(self, result: Result) -> list[list[float]] | None:
        """The 4 x 4 map of how well each place tells what a result is about: kappa, or the F1 of the only
        class that was tested; None where cells were not measured.
        """
        told = next(told for view, told in zip(self.views, self.told, strict=True) if view is result.subjects)
        if "cell_0_0" not in told:
            return None
        cells = [[told[f"cell_{row}_{column}"] for column in range(GRID)] for row in range(GRID)]
        if result.is_one_class and result.label is not None:
            label = result.label
            return [[float(cell.f1[label]) for cell in row] for row in cells]
        return [[cell.kappa for cell in row] for row in cells]

    def name(self, label: int) -> str:
        """The class' name, or its number."""
        return class_name(self.class_names, label)

    def name_of(self, result: Result, key: int) -> str:
        """What a class of a result is called."""
        if result.subjects.column is None:
            return self.name(key)
        return f"{'with' if key else 'without'} {self.name(result.subjects.column)}"

    def table(self) -> str:
        """Every cue, as text: those that the model was asked about first, then what the data alone tell."""
        lines = [f"{'cue':16s} {'class':14s} predictivity  reliance      z  drawn"]
        for result in sorted(self.results, key=lambda one: (not one.holds, -one.reliance.points)):
            whose = "all" if result.label is None else self.name(result.label)[:14]
            found = result.reliance
            numbers = f"{result.predictivity:12.2f}  {found.points:8.2f}  {found.z:5.1f}  {found.excess:5.2f}"
            lines.append(
                f"{result.cue:16s} {whose:14s} {numbers}  {'finding' if result.holds else ''}".rstrip()
            )
        asked = {result.cue for result in self.results}
        others = sorted(self.predictivities.items(), key=lambda one: -one[1])
        classes = self.views[0].classes if self.views else 2
        left = [(name, value) for name, value in others if name not in asked]
        capped = [one for one in left if one[1] >= least_predictivity(one[0], classes)]
        reasons = (
            ("others tell the label at least as well", capped),
            ("they do not tell the label well enough", [one for one in left if one not in capped]),
        )
        not_asked = [
            f"Not asked of the model, as {reason}: "
            + ", ".join(f"{name} {value:.2f}" for name, value in some)
            + "."
            for reason, some in reasons
            if some
        ]
        tested = (
            f"{self.hosts} of {len(self.views[0].labels) if self.views else 0} images are answered rightly; "
            f"{self.passes:.1f} forward passes of the probe."
        )
        return "\n".join([*lines, *not_asked, tested, *self.notes])

    def result_of(self, finding: Finding) -> Result:
        """The test behind a finding."""
        return next(result for result in self.results if result.key == finding.key)

    def picture(self, finding: Finding, when: str, normalization: Normalization | None) -> Image:
        """The evidence, as ``drawing`` draws it."""
        return self.drawing(finding, when, normalization)()

    def drawing(self, finding: Finding, when: str, normalization: Normalization | None) -> DrawOne:
        """Draws images that receive the cue from their own class and from another, with the model's answers;
        how well each place of the image tells the label; and what each class loses.
        """
        result = self.result_of(finding)
        view, swaps = result.subjects, result.swaps
        pairs, known = swaps.pairs, view.labels
        # Those that answer rightly with their own class' cue and follow the other's: the surest first, and
        # classes in turn.
        kept = swaps.own == known[pairs.hosts]
        order = sorted(
            range(len(pairs.hosts)),
            key=lambda i: (not (result.follows[i] and kept[i]), not kept[i], -float(swaps.confidence[i])),
        )
        by_donor = {int(known[pairs.other[i]]): i for i in reversed(order)}
        first = [i for i in order if i in by_donor.values()]
        chosen = torch.tensor(list(dict.fromkeys([*first, *order]))[:MOST_ROWS], device=pairs.hosts.device)
        some = pairs.part(chosen)
        own = torch.cat([rows for rows, _ in swapped(result.row, view, some.hosts, some.own, len(chosen))])
        other = torch.cat(
            [rows for rows, _ in swapped(result.row, view, some.hosts, some.other, len(chosen))]
        )
        rows = [
            Swap(
                image=self._drawn(result, int(known[pairs.hosts[i]])),
                other=self._drawn(result, int(known[pairs.other[i]])),
                answer_own=self._drawn(result, int(swaps.own[i])),
                answer_other=self._drawn(result, int(swaps.other[i])),
                own_is_right=bool(kept[i]),
                other_is_right=bool(swaps.other[i] == known[pairs.hosts[i]]),
            )
            for i in chosen.tolist()
        ]
        classes = [
            ClassRow(self._drawn(result, label), lost, drawn, self.name_of(result, label) in finding.classes)
            for label, (lost, drawn) in result.by_class.items()
        ]
        header = (f"shortcut · {when} · {finding.level}", finding.statement)
        return draw_shortcut(
            view.images[some.hosts],
            view.images[some.other],
            own,
            other,
            rows,
            self.cells_of(result),
            classes,
            header,
            normalization,
            scale=OF_ONE_CLASS if result.is_one_class else OF_ALL,
        )

    def _drawn(self, result: Result, key: int) -> str:
        name = self.name_of(result, key)
        if drawable(name):
            return name
        column = result.subjects.column
        return f"class {key}" if column is None else f"{'with' if key else 'without'} label {column}"

    def _finding(self, result: Result) -> Finding:
        view, found = result.subjects, result.reliance
        largest = max((max(pair) for pair in result.by_class.values()), default=0.0)
        strongest = sorted(result.by_class, key=lambda label: -max(result.by_class[label]))
        named = [label for label in strongest if max(result.by_class[label]) >= NAMED * largest][:MOST_NAMED]
        return Finding(
            cue=result.cue,
            meaning=result.row.meaning,
            level="notice",
            may_warn=result.may_warn,
            predictivity=result.predictivity,
            told=result.share,
            reliance=found.points,
            drawn=found.excess,
            probe_images=len(result.swaps.pairs.hosts.unique()),
            classes=tuple(self.name_of(result, label) for label in named),
            label=result.label,
            of="" if view.column is None else self.name(view.column),
            is_binary=view.classes == 2,
            conflicts=self.conflicts.get(result.key),
        )

    def with_conflicts(self, found: dict[FindingKey, Conflicts]) -> "ShortcutReport":
        """The report with accuracy where the data themselves contradict a cue."""
        return replace(self, conflicts=found)

    def with_agreement(self, agreement: dict[str, float], passes: int) -> "ShortcutReport":
        """The report with how the model answers a part of each image."""
        return replace(self, agreement=agreement, extra_passes=passes)
