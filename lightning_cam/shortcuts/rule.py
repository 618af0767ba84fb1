"""The rule: when a cue that tells the label is used by the model so much that one should know."""

from collections.abc import Mapping

from lightning_cam.shortcuts.cues import Cue
from lightning_cam.shortcuts.predictivity import Predictivity
from lightning_cam.shortcuts.reliance import Reliance

LEAST_Z = 4.0  # holds for some 300 tests at once, at one in a hundred
# Of three classes and more: predictivity, points of accuracy, excess of answers with the cue's class. One line must hold.
SEVERAL = ((0.85, 0.15, 0.04), (0.75, 0.20, 0.06), (0.60, 0.30, 0.35))
TWO = (0.90, 0.20)  # predictivity, points
ONE = (0.90, 0.20, 0.20)  # F1 of the class, what its images lose, how far its cue draws others
DECIDES = 0.40
WORTH_ASKING = 0.60  # predictivity of a cue that the model is asked about
WORTH_ASKING_TWO = 0.85
WORTH_ASKING_ONE = 0.85
MOST_CUES = 8
MOST_CELLS = 3
MOST_SINGLE = 4
OF_THE_OBJECT = (
    "colour",
    "colour_mean",
    "tones",
    "sharpness",
    "detail",
)  # of the whole image, so of its object too
BACKGROUND_TELLS = 0.60


def holds(predictivity: float, found: Reliance, classes: int) -> bool:
    """Whether a cue of all classes together is a finding."""
    if found.z < LEAST_Z:
        return False
    if classes == 2:
        return predictivity >= TWO[0] and found.points >= TWO[1]
    return any(
        predictivity >= least and found.points >= points and found.excess >= excess
        for least, points, excess in SEVERAL
    )


def holds_of_one(f1: float, lost: float, drawn: float) -> bool:
    """Whether a cue of one class among several is a finding."""
    return f1 >= ONE[0] and lost >= ONE[1] and drawn >= ONE[2]


def may_warn(name: str, row: Cue, told: Mapping[str, Predictivity]) -> bool:
    """Whether a finding may warn: where masks are known, cues of the whole image only if the background, too, tells
    the label.
    """
    background = told.get("background")
    if row.may_warn and background is not None and name in OF_THE_OBJECT:
        return background.kappa >= BACKGROUND_TELLS
    return row.may_warn


def may_warn_of_one(name: str, row: Cue, told: Mapping[str, Predictivity], lost: float, drawn: float) -> bool:
    """Whether a finding of one class may warn: appearance, which may be what the class is about, only where its cue
    decides nearly alone.
    """
    decides = row.one_class == "warn" or min(lost, drawn) >= DECIDES
    return decides and may_warn(name, row, told)


def worth_asking(told: Mapping[str, Predictivity], classes: int) -> list[str]:
    """The cues that the model is asked about, the most predictive first: at most eight, of them three cells."""
    least = WORTH_ASKING_TWO if classes == 2 else WORTH_ASKING
    order = sorted(
        (name for name, one in told.items() if one.kappa >= least), key=lambda name: -told[name].kappa
    )
    cells = [name for name in order if name.startswith("cell_")][:MOST_CELLS]
    return [name for name in order if name in cells or not name.startswith("cell_")][:MOST_CUES]


def worth_asking_alone(
    told: Mapping[str, Predictivity], cues: Mapping[str, Cue], present: list[int]
) -> list[tuple[str, int]]:
    """Cues and single classes that the model is asked about, where no cue of all classes is found: at most
    four.
    """
    found = [
        (float(one.f1[label]), name, label)
        for name, one in told.items()
        if cues[name].one_class
        for label in present
        if label < len(one.f1) and one.f1[label] >= WORTH_ASKING_ONE
    ]
    return [(name, label) for _, name, label in sorted(found, key=lambda one: -one[0])[:MOST_SINGLE]]
