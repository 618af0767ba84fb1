"""The report page's section on shortcuts: what was found, what was asked of the model, and what was not."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_cam.report.encode import data_uri
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.examine import FEWEST_HOSTS
from lightning_cam.shortcuts.findings import Finding, FindingKey
from lightning_cam.shortcuts.rule import FURTHER, ONE, SEVERAL, TWO, least_predictivity
from lightning_cam.visualization.canvas import DrawOne
from lightning_cam.visualization.reliance import draw_reliance

Reliances = Sequence[tuple[int, Mapping[str, float]]]

MOST_TOLD = 3  # findings in one line
MOST_NAMES = 12  # classes that a finding names
LINES = (*SEVERAL, *(line for lines in FURTHER.values() for line in lines))
LEAST_POINTS = min(
    TWO[1], *(lost for _, lost, _ in ONE), *(points for _, points, _ in LINES)
)  # with less no cue is a finding


def shortcut_section(
    findings: Sequence[Finding],
    sheets: Mapping[FindingKey, bytes],
    predictivities: Mapping[str, float],
    reliances: Reliances,
    notes: Sequence[str],
    tested: tuple[int, int] | None,
) -> dict[str, Any]:
    """What the page's script shows of shortcuts, as primitives.

    Args:
        findings: In any order.
        sheets: Their evidence as JPEG files, by ``finding.key``.
        predictivities: By cue, Cohen's kappa with which it tells the label, no model asked, in [-1, 1].
        reliances: For each look with tests its epoch and, by cue that was tested, the accuracy lost, in
            [-1, 1].
        notes: What could not be tested.
        tested: How many images the model answered rightly at the last tests, and of how many; None where
            nobody knows.
    """
    ranked = sorted(findings, key=lambda finding: finding.rank)
    result, note, sentence = outcome(predictivities, reliances, tested)
    was_asked = any(by_cue for _, by_cue in reliances)
    return {
        "findings": [_finding(finding, sheets) for finding in ranked],
        "tests": {"result": result, "note": note, "sentence": sentence},
        "cues": _cues(predictivities, reliances, _meanings(findings)),
        "reliance": _png(reliance_drawing(reliances, predictivities, findings)) if was_asked else "",
        "untested": list(notes),
    }


def found_words(
    findings: Sequence[Finding],
    predictivities: Mapping[str, float],
    reliances: Reliances,
    tested: tuple[int, int] | None,
) -> str:
    """What the last tests found, for one line in a console, with "; " behind it; "" where nothing was tested.

    Args:
        findings: In any order.
        predictivities: As ``shortcut_section`` takes them, as are the others.
    """
    found = sorted((one for one in findings if one.level != "expected"), key=lambda one: one.rank)
    if found:
        named = [f"{_subject(one)} (accuracy falls by {100 * one.reliance:.0f} points)" for one in found]
        further = f" and {len(named) - MOST_TOLD} more" if len(named) > MOST_TOLD else ""
        return f"possible shortcut{'s' * (len(named) > 1)}: {', '.join(named[:MOST_TOLD])}{further}; "
    result, note, _ = outcome(predictivities, reliances, tested)
    return f"shortcut tests: {result}, {note}; " if note else ""


def reliance_drawing(
    reliances: Reliances, predictivities: Mapping[str, float], findings: Sequence[Finding], when: str = ""
) -> DrawOne:
    """What the accuracy rests on, as a picture of a run.

    Args:
        reliances: As ``shortcut_section`` takes them.
        predictivities: Likewise.
        findings: Those that hold at the last look.
        when: Of the last look, "epoch 4".
    """
    return draw_reliance(
        reliances,
        predictivities,
        _meanings(findings),
        {finding.cue for finding in findings},
        least=LEAST_POINTS,
        when=when,
    )


def _meanings(findings: Sequence[Finding]) -> dict[str, str]:
    known = {name: row.meaning for name, row in CUES.items()}
    return known | {finding.cue: finding.meaning for finding in findings}


def outcome(
    predictivities: Mapping[str, float], reliances: Reliances, tested: tuple[int, int] | None
) -> tuple[str, str, str]:
    """What the tests say where they found nothing, in two parts and as a sentence: never more than was
    tested.
    """
    if not predictivities:
        return "not tested", "", "Shortcut tests: not tested."
    right, total = tested or (0, 0)
    if not reliances or not reliances[-1][1]:
        result, note = "none found", "no cue alone tells the label well enough: nothing to test"
    elif tested is None:
        result, note = "none found", "as of the last tests"
    elif right < max(FEWEST_HOSTS, LEAST_POINTS * total):
        # With less accuracy there is not enough to lose.
        result, note = "not possible yet", f"{right} of {total} images are answered rightly"
        return result, note, f"Shortcut tests: {result}, {note}."
    else:
        result, note = "none found", f"{right} of {total} images tested"
    return result, note, f"Shortcut tests: {result} ({note})."


def _finding(finding: Finding, sheets: Mapping[FindingKey, bytes]) -> dict[str, Any]:
    sheet = sheets.get(finding.key)
    return {
        "statement": finding.statement,
        "level": finding.level,
        "sheet": data_uri("jpeg", sheet) if sheet else "",
        "row": [
            ["cue", _subject(finding)],
            ["tells the label", f"{'F1 ' if finding.is_one_class else ''}{finding.predictivity:.2f}"],
            ["reliance", f"{100 * finding.reliance:.0f} points"],
            # Of two classes each wrong answer is the other class, drawn to it or not.
            ["drawn to the cue's class", "–" if finding.is_binary else f"{100 * finding.drawn:.0f} %"],
            ["classes", _enumerated(finding.classes)],
            ["holds", _since(finding)],
            [
                "level",
                finding.level if finding.may_warn else f"{finding.level} (appearance cue: notice only)",
            ],
        ],
    }


def _subject(finding: Finding) -> str:
    if finding.is_one_class:
        return f"{finding.meaning} of class {finding.classes[0] if finding.classes else finding.label}"
    return f"{finding.meaning}, label {finding.of}" if finding.of else finding.meaning


def _since(finding: Finding) -> str:
    if finding.looks == 1:
        return "1 look" if finding.since is None else f"1 look, epoch {finding.since}"
    looks = f"{finding.looks} looks in a row"
    return looks if finding.since is None else f"{looks}, since epoch {finding.since}"


def _enumerated(names: Sequence[str]) -> str:
    further = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + further or "none by itself"


def _cues(
    predictivities: Mapping[str, float], reliances: Reliances, meanings: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Every cue, the most predictive first, and what was asked of the model."""
    return [
        {
            "cue": cue,
            "meaning": meanings.get(cue, cue),
            "predictivity": round(value, 4) if math.isfinite(value) else None,
            "asked": _asked(cue, predictivities, reliances),
        }
        for cue, value in sorted(predictivities.items(), key=lambda pair: -pair[1])
    ]


def _asked(cue: str, predictivities: Mapping[str, float], reliances: Reliances) -> str:
    """What reliance was measured, or why none was."""
    looks = [(epoch, by_cue[cue]) for epoch, by_cue in reliances if cue in by_cue]
    if looks:
        epoch, value = looks[-1]
        when = "untrained" if epoch < 0 else f"at epoch {epoch}"
        since = "" if cue in reliances[-1][1] else ", not tested since"
        return f"reliance {100 * value + 0.0:.0f} points {when}{since}".replace("-0 ", "0 ").replace("-", "−")
    told = predictivities[cue]
    others = [predictivities.get(name, -1.0) for _, by_cue in reliances for name in by_cue]
    # At most eight cues are asked about, of them three places.
    if told >= least_predictivity(cue, classes=3) and any(other >= told for other in others):
        return "not tested: other cues tell the label at least as well"
    return "not tested: does not tell the label well enough"


def _png(draw: DrawOne) -> str:
    buffer = io.BytesIO()
    draw().save(buffer, format="PNG", optimize=True)
    return data_uri("png", buffer.getvalue())
