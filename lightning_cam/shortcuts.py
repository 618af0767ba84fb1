"""What decides, the object or a cue: transplants, counts, findings. The whole way without Lightning."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from PIL.Image import Image
from torch import Tensor, nn

from lightning_cam.class_means import FEWEST_IMAGES, MOST_CLASSES, ClassMeans
from lightning_cam.explain import answer, find_layers
from lightning_cam.findings import Finding
from lightning_cam.functional.cues import CUES, GRID, Cue
from lightning_cam.functional.dominance import Tally, holm, tally
from lightning_cam.look import answering
from lightning_cam.network import Forward, like
from lightning_cam.picture import drawable
from lightning_cam.probe import Probe
from lightning_cam.question import Question
from lightning_cam.reading import How, Normalization
from lightning_cam.sheet import ClassRow, Triple, draw_sheet
from lightning_cam.tables import did_you_mean
from lightning_cam.transplants import Ask, Plan, Subjects, answers, plan, shams, transplants
from lightning_cam.typing import Labels, PerRow

TRIPLES = 4
MOST_SUSPECTS = 2  # classes that are tested one by one at a look


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
    tally: Tally
    pairs: Plan
    predicted: Tensor
    confidence: Tensor
    by_class: dict[int, Tally]
    p_value: float = 1.0

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
    """

    results: tuple[Result, ...]
    subjects: Subjects
    class_names: tuple[str, ...] | None
    passes: float
    notes: tuple[str, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Cues whose rule holds, those that may warn first, then the strongest."""
        found = [self._finding(result) for result in self.results if result.holds]
        return tuple(sorted(found, key=lambda finding: (finding.tier, -finding.dominance)))

    @property
    def dominances(self) -> dict[str, float]:
        """Each cue's dominance, the larger where one class was tested too; NaN where there was no conflict."""
        found: dict[str, float] = {}
        for result in self.results:
            known = found.get(result.cue, float("nan"))
            found[result.cue] = result.tally.dominance if not known >= result.tally.dominance else known
        return found

    @property
    def hosts(self) -> int:
        """How many images the model gets right."""
        return int(self.subjects.right.sum())

    @property
    def cells(self) -> list[list[float]] | None:
        """The 4 x 4 map of dominance; None where no cell was tested."""
        found = {result.cue: result.tally.dominance for result in self.results if result.cue.startswith("cell_")}
        if not found:
            return None
        return [[found.get(f"cell_{row}_{column}", float("nan")) for column in range(GRID)] for row in range(GRID)]

    def name(self, label: int) -> str:
        """The class' name, or its number."""
        names = self.class_names or ()
        return names[label] if 0 <= label < len(names) else str(label)

    def table(self) -> str:
        """Every test, as text."""
        lines = [f"{'cue':16s} {'class':12s} tier  donor  host  third  dominance  effect        p"]
        for result in sorted(self.results, key=lambda result: (not result.holds, -(result.tally.dominance or 0))):
            count, whose = result.tally, "all" if result.label is None else self.name(result.label)[:12]
            lines.append(
                f"{result.cue:16s} {whose:12s} {result.row.tier:>4s}  {count.donor:5d} {count.host:5d}  {count.third:5d}  "
                f"{count.dominance:9.2f}  {count.effect:6.2f}  {result.p_value:7.1g}  {'holds' if result.holds else ''}".rstrip()
            )
        tested = f"{self.hosts} of {len(self.subjects.labels)} images were right and were hosts; {self.passes:.1f} forward passes"
        return "\n".join([*lines, f"{tested} of the probe.", *self.notes])

    def result_of(self, finding: Finding) -> Result:
        """The test behind a finding."""
        return next(result for result in self.results if (result.cue, result.label) == (finding.cue, finding.label))

    def picture(self, finding: Finding, when: str, normalization: Normalization | None) -> Image:
        """Hosts, donors and transplants with what the model answered, the mean pattern, the map of cells, the table of classes."""
        result, subjects = self.result_of(finding), self.subjects
        hosts, donors = result.pairs.hosts, result.pairs.donors
        wins = result.predicted == subjects.labels[donors]
        # The clearest first, each of another donor class where there are as many.
        order = sorted(wins.nonzero()[:, 0].tolist(), key=lambda i: -float(result.confidence[i]))
        by_class = {int(subjects.labels[donors[i]]): i for i in reversed(order)}
        chosen = torch.tensor(list(dict.fromkeys([*reversed(by_class.values()), *order]))[:TRIPLES], device=hosts.device)
        shown = Plan(hosts[chosen], donors[chosen])
        made = torch.cat([rows for rows, _ in transplants(result.row, subjects, shown, len(chosen))])
        given = subjects.images[shown.donors]
        pattern, names = subjects.images[:0].float(), []
        if result.row.feature == "image":
            classes = subjects.labels[shown.donors].unique().tolist()
            means = {label: subjects.means.of("image", subjects.labels.new_tensor([label])) for label in subjects.means.counts}
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
            ClassRow(self._drawn(label), own.dominance, own.donor, own.host, own.donor > own.host)
            for label, own in result.by_class.items()
        ]
        header = (f"shortcut · {when} · {finding.level}", f"{finding.statement}: {result.row.meaning}.")
        return draw_sheet(
            subjects.images[shown.hosts], given, made, triples, pattern, names, self.cells, rows, header, normalization
        )

    def _drawn(self, label: int) -> str:
        name = self.name(label)
        return name if drawable(name) else f"class {label}"

    def _finding(self, result: Result) -> Finding:
        count = result.tally
        named = [label for label, own in result.by_class.items() if own.donor > own.host]
        classes = tuple(self.name(label) for label in named)
        return Finding(
            result.cue, result.row.tier, "notice", count.dominance, count.donor, count.host, result.p_value, classes, result.label
        )


def find_shortcuts(
    model: nn.Module,
    probe: Probe,
    cues: str | Collection[str] = "default",
    *,
    target_layer: str | None = None,
    forward: Forward | None = None,
    scores: How = None,
    max_batch: int | None = None,
) -> ShortcutReport:
    """Which cues decide against the object: all cues, once, on any classifier, which is left as it was.

    An image that the model gets right, the host, receives one cue of another class; the rest stays. Where the model then answers
    the class that gave the cue more often than the host's own, the cue dominates.

    Args:
        model: A classifier. It is asked in eval mode.
        probe: Images and labels, at least five of each class for the cues that need class means; 64 images serve well. Masks, where
            there are any, say where the object is.
        cues: Keys of ``CUES``, or prefixes of such; "default": all.
        target_layer: The layer whose map says what is attended to; None finds it.
        forward: Function ``(model, images) -> output``; None calls the model.
        scores: How to read scores (n, C) from the output: key, index or function; None finds them.
        max_batch: Most images sent through the model at once; None: as many as the probe has.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument does not fit; the message names argument, value and remedy.

    Source: Geirhos et al., ImageNet-trained CNNs are biased towards texture, ICLR 2019, for cue conflicts.
    https://arxiv.org/abs/1811.12231
    """
    chosen = choose_cues(cues)
    if not isinstance(probe, Probe):
        raise TypeError(f"probe: got {type(probe).__name__}; give a Probe(images, labels).")
    labels = check_subjects(probe)
    images = like(probe.images, model)
    labels = labels.to(images.device)
    masks = None if probe.masks is None else probe.masks.to(images.device)
    saliency = None
    if any(row.needs == "saliency" for row in chosen.values()):
        question = Question("gradcam", "label", target_layer, forward, scores, max_batch=max_batch)
        (explanation,) = answer(question, model, images, labels, find_layers(question, model, images)).values()
        saliency = explanation.saliency
    batch = max_batch or len(images)
    means = ClassMeans({row.feature for row in chosen.values() if row.feature})
    for part in torch.arange(len(images)).split(batch):
        means.add(images[part], labels[part], None if masks is None else masks[part], most_common(labels))
    with answering(model, len(images), forward, scores, max_batch) as ask:
        outputs = ask(images, torch.arange(len(images), device=images.device))
        subjects = Subjects(images, labels, outputs.argmax(dim=1), masks, saliency, means, among=True)
        return examine(
            subjects,
            ask,
            chosen,
            classes=outputs.shape[1],
            max_batch=batch,
            class_names=probe.class_names,
            thorough=True,
        )


def examine(
    subjects: Subjects,
    ask: Ask,
    cues: Mapping[str, Cue],
    *,
    classes: int,
    max_batch: int,
    class_names: tuple[str, ...] | None = None,
    thorough: bool = False,
) -> ShortcutReport:
    """Stage 1, and stage 2 where stage 1 fires or ``thorough`` asks for it.

    Args:
        ask: ``(images, index) -> (m, C)`` scores.
        classes: How many the model tells apart.
    """
    given = {"masks": subjects.masks, "saliency": subjects.saliency, "": subjects.images}
    cues = {name: row for name, row in cues.items() if given[row.needs] is not None}
    notes: dict[str, None] = {}
    results: list[Result] = []
    shown = 0

    def test(name: str, only: int | None = None) -> Result | None:
        nonlocal shown
        row = cues[name]
        if row.pooled and (classes == 2 or only is not None):
            return None
        able, reason = testable(row, subjects)
        if reason:
            notes[reason] = None
        pairs = plan(subjects, able, row.donors, only)
        if reason or not len(pairs.hosts):
            return None
        predicted, confidence = answers(row, subjects, pairs, ask, max_batch)
        shown += len(predicted)
        result = _counted(name, row, only, subjects, pairs, predicted, confidence, classes)
        if classes == 2 and result.tally.dominance > 0.5:
            sham = shams(row, subjects, pairs)
            flipped = answers(row, subjects, sham, ask, max_batch, sham=True)[0] != subjects.labels[sham.hosts]
            shown += len(flipped)
            flips = flipped.float().mean().item() if len(flipped) else 0.0
            result = replace(result, tally=replace(result.tally, flips=flips))
        results.append(result)
        return result

    first = [result for name, row in cues.items() if row.stage == 1 and (result := test(name)) is not None]
    pooled = any(result.tally.dominance > 0.5 for result in first)
    suspects = [] if pooled or classes == 2 else _suspects(first)
    confirmed = [result for name, label in suspects if (result := test(name, label)) is not None and result.tally.dominance > 0.5]
    if thorough or pooled or confirmed:
        strongest = max(confirmed, key=lambda result: result.tally.dominance, default=None)
        for name, row in cues.items():
            if row.stage == 2:
                test(name, strongest.label if strongest else None)
    adjusted = holm([result.tally.p_value for result in results])
    done = tuple(replace(result, p_value=p_value) for result, p_value in zip(results, adjusted, strict=True))
    if not subjects.right.any():
        notes["no image of the probe is answered rightly, so there are no hosts yet"] = None
    return ShortcutReport(done, subjects, class_names, shown / len(subjects.labels), tuple(notes))


def testable(row: Cue, subjects: Subjects) -> tuple[Collection[int], str]:
    """The classes that a cue can be tested on, and why it cannot be tested, in words, where it cannot."""
    present = sorted(set(subjects.labels.tolist()))
    side = min(subjects.images.shape[2:])
    if subjects.images.ndim != 4:
        return present, "cues are made for images (n, c, H, W), not for signals or volumes"
    if side < row.smallest:
        return present, f"{row.meaning}: the images' shorter side is {side} pixels; this cue needs {row.smallest}"
    if len(present) < 2:
        return present, f"all images of the probe are of class {present[0]}; conflicts need two classes"
    if row.feature:
        known = [label for label in present if label in set(subjects.means.known(int(subjects.among)))]
        if len(known) < 2:
            needed = FEWEST_IMAGES + subjects.among
            return known, f"class means need {needed} images of each of two classes; this probe has fewer"
        return known, ""
    return present, ""


def choose_cues(cues: str | Collection[str], argument: str = "cues") -> dict[str, Cue]:
    """The rows of ``CUES`` that keys or prefixes name; "default" names all.

    Raises:
        TypeError: Neither text nor a list of keys.
        ValueError: No such cue.
    """
    if cues == "default":
        return dict(CUES)
    if isinstance(cues, str) or not isinstance(cues, Collection) or not all(isinstance(key, str) for key in cues):
        raise TypeError(f"{argument}: got {cues!r}; give keys of CUES, or prefixes of such, in a list.")
    for key in cues:
        if not key or not any(known.startswith(key) for known in CUES):
            raise ValueError(f"{argument}: no cue {key!r}{did_you_mean(key, CUES) or '; there are ' + ', '.join(CUES)}.")
    return {name: row for name, row in CUES.items() if any(name.startswith(key) for key in cues)}


def check_subjects(probe: Probe) -> Labels:
    """The probe's labels.

    Raises:
        ValueError: There are none, or only those of one class; or a mask holds no object.
    """
    if probe.labels is None:
        raise ValueError("labels: the probe has none; shortcut tests need the true class of each image: Probe(images, labels).")
    if len(probe.labels.unique()) < 2:
        raise ValueError(
            f"labels: all {len(probe)} images are of class {int(probe.labels[0])}; a conflict needs two classes in the probe."
        )
    return probe.labels


def most_common(labels: Labels) -> list[int]:
    """At most 64 classes, those with most images first."""
    counts = Counter(labels.tolist())
    return sorted(counts, key=lambda label: (-counts[label], label))[:MOST_CLASSES]


def _counted(
    name: str, row: Cue, only: int | None, subjects: Subjects, pairs: Plan, predicted: Labels, confidence: PerRow, classes: int
) -> Result:
    hosts, donors = subjects.labels[pairs.hosts], subjects.labels[pairs.donors]
    # A class mean has no donor image: its pairs are as independent as their hosts.
    units = len(pairs.hosts.unique()) if row.feature else min(len(pairs.hosts.unique()), len(pairs.donors.unique()))
    by_class = {}
    for label in donors.unique().tolist():
        own = donors == label
        by_class[label] = tally(predicted[own], hosts[own], donors[own], int(own.sum()), classes)
    return Result(name, row, only, tally(predicted, hosts, donors, units, classes), pairs, predicted, confidence, by_class)


def _suspects(results: Sequence[Result]) -> list[tuple[str, int]]:
    """Cues and classes that win most of the few conflicts that they had, the clearest first."""
    winning = [
        (own.donor / own.pairs, result.cue, label)
        for result in results
        if not result.row.pooled
        for label, own in result.by_class.items()
        if own.donor > own.host and own.donor >= 2
    ]
    return [(cue, label) for _, cue, label in sorted(winning, reverse=True)[:MOST_SUSPECTS]]
