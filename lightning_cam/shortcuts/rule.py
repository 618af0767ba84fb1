"""The rule: when a cue that tells the label is used by the model so much that one should know."""

from collections.abc import Mapping

from lightning_cam.shortcuts.cues import Cue
from lightning_cam.shortcuts.predictivity import Predictivity
from lightning_cam.shortcuts.reliance import Reliance

LEAST_Z = 4.0  # holds for some 300 tests at once, at one in a hundred
# Of three classes and more: predictivity, points of accuracy, excess of answers with the cue's class.
# One line must hold.
SEVERAL = ((0.85, 0.35, 0.03), (0.80, 0.25, 0.02), (0.80, 0.20, 0.06), (0.75, 0.30, 0.10), (0.60, 0.30, 0.35))
# Little else in an image looks like a spot, and a blur is swapped without the object's shape: honest runs
# stay further away from these.
FURTHER = {"spot": ((0.50, 0.30, 0.15),), "sharpness": ((0.70, 0.20, 0.045),)}
TWO = (0.90, 0.20)  # predictivity, points
# One class: F1, what its images lose, how far its cue draws others. One line must hold.
ONE = ((0.90, 0.20, 0.20), (0.97, 0.50, 0.10))
ONE_BORDER = (
    0.97  # F1: an object that fills the frame has a border of its own, which tells it in nine of ten images
)
DECIDES = 0.40
MOST_CUES = 8
MOST_CELLS = 3
MOST_SINGLE = 6
MOST_OF_A_CLASS = {"cell": 2, "border": 1}
OF_THE_OBJECT = (
    "colour",
    "colour_mean",
    "tones",
    "sharpness",
    "detail",
)  # of the whole image, so of its object too
BACKGROUND_TELLS = 0.60


def holds(name: str, predictivity: float, found: Reliance, classes: int) -> bool:
    """Whether a cue of all classes together is a finding."""
    if found.z < LEAST_Z:
        return False
    if classes == 2:
        return predictivity >= TWO[0] and found.points >= TWO[1]
    return any(
        predictivity >= least and found.points >= points and found.excess >= excess
        for least, points, excess in (*SEVERAL, *FURTHER.get(name, ()))
    )


def lines_of_one(name: str) -> list[tuple[float, float, float]]:
    """What one class needs of a cue: F1, what its images lose, how far the cue draws others; one line must
    hold.
    """
    least = ONE_BORDER if name.startswith("border") else 0.0
    return [(max(f1, least), lost, drawn) for f1, lost, drawn in ONE]


def holds_of_one(name: str, f1: float, lost: float, drawn: float) -> bool:
    """Whether a cue of one class among several is a finding."""
    return any(
        f1 >= least and lost >= losing and drawn >= drawing for least, losing, drawing in lines_of_one(name)
    )


def may_warn(name: str, row: Cue, told: Mapping[str, Predictivity]) -> bool:
    """Whether a finding may warn: where masks are known, cues of the whole image only if the background, too,
    tells the label.
    """
    background = told.get("background")
    if row.may_warn and background is not None and name in OF_THE_OBJECT:
        return background.kappa >= BACKGROUND_TELLS
    return row.may_warn


def may_warn_of_one(name: str, row: Cue, told: Mapping[str, Predictivity], lost: float, drawn: float) -> bool:
    """Whether a finding of one class may warn: appearance, which may be what the class is about, only where
    its cue decides nearly alone.
    """
    decides = row.one_class == "warn" or min(lost, drawn) >= DECIDES
    return decides and may_warn(name, row, told)


def least_predictivity(name: str, classes: int) -> float:
    """Kappa from which on the model is asked about a cue: below it no answer would be a finding."""
    lines = (*SEVERAL, *FURTHER.get(name, ()))
    return TWO[0] if classes == 2 else min(predictivity for predictivity, _, _ in lines)


def worth_asking(told: Mapping[str, Predictivity], classes: int) -> list[str]:
    """The cues that the model is asked about, the background and then the most predictive first: at most
    eight, three cells of them.
    """
    order = sorted(
        (name for name in told if told[name].kappa >= least_predictivity(name, classes)),
        # Whoever gives masks asks about the background, which else is told in many other cues too.
        key=lambda name: (name != "background", -told[name].kappa),
    )
    return _at_most(order, {"cell": MOST_CELLS})[:MOST_CUES]


def worth_asking_alone(
    told: Mapping[str, Predictivity], cues: Mapping[str, Cue], present: list[int]
) -> list[tuple[str, int]]:
    """Cues and single classes that the model is asked about, where no cue of all classes is found: at most
    six, of each class one border and two cells, and one sharpness.
    """
    found = [
        (float(one.f1[label]), name, label)
        for name, one in told.items()
        if cues[name].one_class
        for label in present
        if label < len(one.f1) and one.f1[label] >= min(least for least, _, _ in lines_of_one(name))
    ]
    order = sorted(found, key=lambda one: -one[0])
    # Honest classes have a sharpness too: the clearest one alone is asked about.
    sharp = [one for one in order if one[1] == "sharpness"][1:]
    order = [one for one in order if one not in sharp]
    kept: list[tuple[str, int]] = []
    for label in dict.fromkeys(label for _, _, label in order):
        names = _at_most([name for _, name, own in order if own == label], MOST_OF_A_CLASS)
        kept += [(name, label) for name in names]
    place = {(name, label): i for i, (_, name, label) in enumerate(order)}
    return sorted(kept, key=lambda one: place[one])[:MOST_SINGLE]


def _at_most(names: list[str], most: Mapping[str, int]) -> list[str]:
    """The names in their order, of each kind (what stands before the first "_") so many."""
    kinds = [name.split("_")[0] for name in names]
    return [
        name for i, name in enumerate(names) if kinds[:i].count(kinds[i]) < most.get(kinds[i], len(names))
    ]
