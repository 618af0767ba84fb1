"""Labels and answers as the page has them, by task."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.pages import history, probe, written

from lightning_cam import Probe, write_report
from lightning_cam.data.history import History, Look, remember
from lightning_cam.report.answers import answers_of, counted

NAN = torch.nan
TRUTH = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [NAN, 1.0, 0.0]])
SHARES = torch.tensor([[0.75, 0.25, 0.5], [0.125, 0.25, 0.5], [1.0, 0.0, 0.25]])


def look(**changes: object) -> Look:
    known = {
        "epoch": 0,
        "step": 1,
        "cams": torch.rand(3, 4, 4),
        "predicted": torch.tensor([0, 2, 0]),
        "confidence": SHARES.amax(dim=1),
        "statistics": {},
        "right": torch.tensor([1.0, 0.5, NAN]),
        "confidences": SHARES,
    }
    return remember(**(known | changes))


def test_several_labels_with_their_shares() -> None:
    unseen = look().of(torch.tensor([0, -1, 2]))
    found = answers_of(History((look(), unseen)), TRUTH, 3, "abc".__getitem__, {})
    assert found["kind"] == "labels"
    assert found["labels"] == [[0, 2], [], [1]]
    assert found["names"] == {0: "a", 1: "b", 2: "c"}
    assert found["right"] == [[1.0, 0.5, None], [1.0, None, None]]
    assert found["shares"][0] == [
        {"present": [0.75, 0.5], "absent": [1, 0.25]},
        {"present": [], "absent": [2, 0.5]},
        {"present": [0.0], "absent": [2, 0.25]},
    ]
    assert found["shares"][1][1] is None


@pytest.mark.parametrize(
    "labels", [torch.tensor([45.25, NAN, 3.0]), torch.tensor([[45.25, 1.0], [NAN, 1.0], [3.0, 1.0]])]
)
def test_numbers(labels: torch.Tensor) -> None:
    plain = look(
        predicted=torch.zeros(3).long(),
        right=None,
        confidences=None,
        confidence=torch.tensor([44.0, 1.0, 2.0]),
    )
    found = answers_of(History((plain,)), labels, 3, str, {})
    assert (found["kind"], found["labels"], found["names"]) == ("numbers", [45.25, None, 3.0], {})
    assert found["right"] == [[None, None, None]]


def test_whole_numbers_are_what_the_settings_say() -> None:
    plain, labels = look(confidences=None), torch.tensor([30, 45, 60])
    assert answers_of(History((plain,)), labels, 3, str, {})["kind"] == "classes"
    found = answers_of(History((plain,)), labels, 3, str, {"task": "regression"})
    assert (found["kind"], found["labels"]) == ("numbers", [30.0, 45.0, 60.0])


def test_no_labels() -> None:
    plain = look(confidences=None, right=None)
    found = answers_of(History((plain,)), torch.tensor([0, 1, 2]), 3, str, {"task": "none", "outputs": 3})
    assert (found["kind"], found["labels"]) == ("classes", None)
    assert answers_of(History((plain,)), None, 3, str, {"task": "none", "outputs": 1})["kind"] == "numbers"


def test_what_is_counted() -> None:
    assert counted(look()) == {"seen": 3, "right": 1}
    assert counted(look().of(torch.tensor([0, -1, -1]))) == {"seen": 1, "right": 1}
    assert counted(look(right=None)) == {"seen": 3, "right": None}


def test_the_page_of_several_labels(tmp_path: Path) -> None:
    images = torch.rand(3, 3, 16, 16)
    page = written(
        write_report(
            History((look(), look(epoch=1))),
            tmp_path / "page.html",
            probe=Probe(images, TRUTH, None, ("a", "b", "c")),
        )
    )
    assert (page["kind"], page["labels"]) == ("labels", [[0, 2], [], [1]])
    assert page["looks"] == [{"epoch": epoch, "step": 1, "seen": 3, "right": 1} for epoch in (0, 1)]


def test_the_page_of_classes_says_what_was_right(tmp_path: Path) -> None:
    looks, given = history(2, 4, (4, 4)), probe(4, 16, 16)
    page = written(write_report(looks, tmp_path / "page.html", probe=given))
    assert page["kind"] == "classes"
    assert page["right"] == [(one.predicted == given.labels).float().tolist() for one in looks.looks]
    unknown = History(tuple(replace(one, right=torch.full((4,), NAN)) for one in looks.looks))
    page = written(write_report(unknown, tmp_path / "unknown.html", probe=given))
    assert [one["right"] for one in page["looks"]] == [None, None]
