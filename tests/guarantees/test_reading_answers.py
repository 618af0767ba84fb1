"""Set-ups from public bug reports: what the monitor reads equals what the user's own validation says, image by image, and the
maps lie where the figures are; or the monitor says what it cannot read, and following its words leads there.

Of each kind one runs by default, its variants with ``-m full``.
"""

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.read_case import ReadCase, Setup
from support.read_cases import READ_CASES
from support.read_outcome import Outcome, outcome, own_answers, positions, run, share_in_figures

# What may be said only where a case waits for it.
DOUBTS = (
    r"could not see which network",
    r"is assumed to be the label",
    r"may be read wrongly",
    r"switched itself off",
    r"the scores differ",
    r"displaced|never sees the image",
)
FIRST_OF_ITS_KIND = {case.row: case.name for case in reversed(READ_CASES)}
(CONTROL,) = (case for case in READ_CASES if case.name == "control")
AT_ONCE = [case for case in READ_CASES if case.remedy is None]
REMEDIED = [case for case in READ_CASES if case.remedy is not None]


def params(cases: list[ReadCase]) -> list[Any]:
    return [
        pytest.param(
            case,
            id=f"{case.row:02d}-{case.name}",
            # What comes of a case is kept for all tests of one process.
            marks=[
                pytest.mark.needs(*case.needs),
                pytest.mark.xdist_group(case.name),
                *([] if FIRST_OF_ITS_KIND[case.row] == case.name else [pytest.mark.full]),
            ],
        )
        for case in cases
    ]


def share_of(found: Outcome) -> float:
    at = positions(found.monitor.probe.images, found.setup.seen)
    return share_in_figures(found.monitor.history.looks[-1].cams, found.setup.boxes[at])


def read_rightly(case: ReadCase, found: Outcome) -> None:
    """By numbers: images, labels, answers, and where the maps lie."""
    setup, monitor = found.setup, found.monitor
    if found.error is not None:
        raise found.error
    assert monitor.history.looks, "there was no look"
    probe, look = monitor.probe, monitor.history.looks[-1]
    at = positions(probe.images, setup.seen)
    assert len(set(at)) == len(at)
    if case.is_whole:
        assert len(at) == len(setup.seen)
    if case.names != "any":
        assert probe.class_names == case.names
    if case.grid is not None:
        assert tuple(look.cams.shape[1:]) == case.grid
    labels_agree(setup, probe.labels, at)
    answers_agree(setup, look, at)
    if case.share is not None:
        assert share_of(found) >= case.share * share_of(outcome(CONTROL))
    if case.also is not None:
        case.also(monitor, setup, found.folder)


def labels_agree(setup: Setup, labels: torch.Tensor | None, at: list[int]) -> None:
    if setup.labels is None:
        assert labels is None
        return
    assert labels is not None
    expected = setup.labels[at].double()
    if expected.ndim == 2 and expected.shape[1] == 1:
        expected = expected[:, 0]
    torch.testing.assert_close(labels.double().reshape(expected.shape), expected)


def answers_agree(setup: Setup, look: Any, at: list[int]) -> None:
    own = own_answers(setup)
    if own.right is not None and setup.labels is not None:
        torch.testing.assert_close(look.right.float(), own.right[at].float(), rtol=0, atol=1e-6)
    if own.answer is not None:
        assert look.predicted.tolist() == own.answer[at].long().tolist()
    if own.sure is not None:
        torch.testing.assert_close(look.confidence.float(), own.sure[at].float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", params(AT_ONCE))
def test_is_read_rightly_at_once(case: ReadCase) -> None:
    read_rightly(case, outcome(case))


@pytest.mark.parametrize("case", params(REMEDIED))
def test_is_read_rightly_once_the_advice_is_followed(case: ReadCase) -> None:
    advice = case.remedy(outcome(case).all_told)
    mended = replace(case, make=case.remedied or case.make, fit=case.remedied_fit or case.fit)
    read_rightly(mended, run(mended, mended.make(), advice))


@pytest.mark.parametrize("case", params([case for case in READ_CASES if case.says or case.never]))
def test_says_what_the_user_should_know(case: ReadCase) -> None:
    told = outcome(case).all_told
    for pattern in case.says:
        assert re.search(pattern, told), told
    assert not case.never or not re.search(case.never, told), told


@pytest.mark.parametrize("case", params(AT_ONCE))
def test_says_what_is_explained(case: ReadCase) -> None:
    found = outcome(case)
    reading = found.monitor.reading
    if case.task is not None:
        assert reading.task == case.task
    if case.network is not None:
        assert reading.network == case.network
    if case.label is not None:
        assert re.fullmatch(rf".*{case.label}", reading.label), reading.label


@pytest.mark.parametrize("case", params([case for case in AT_ONCE if not case.says]))
def test_casts_no_doubt_on_what_is_read_rightly(case: ReadCase) -> None:
    told = outcome(case).all_told
    assert not [doubt for doubt in DOUBTS if re.search(doubt, told)], told


def test_the_bound_tells_figures_from_elsewhere() -> None:
    """A map that is the same everywhere has less than the least share that is asked of any."""
    boxes = CONTROL.make().boxes
    even = share_in_figures(torch.ones(len(boxes), 8, 8), boxes)
    least = min(case.share for case in READ_CASES if case.share is not None)
    assert even < least * share_of(outcome(CONTROL))
    assert math.isclose(share_in_figures(boxes.float(), boxes), 1.0)
