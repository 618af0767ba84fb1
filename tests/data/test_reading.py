"""What the user reads of what is explained: one line, then cautions, each in a line of its own."""

import pytest
import torch
from support.observed_steps_rare import CASES

from lightning_cam.attribution.preserve import leaving_no_trace
from lightning_cam.data.observed_call import observed_call
from lightning_cam.data.observed_step import StepObserver
from lightning_cam.data.reading import Reading, reading_of, reading_of_function
from lightning_cam.data.replay import ReplayCheck, check_replay


def read(name, cautions=()):
    module, batch = CASES[name].make()
    with StepObserver(module.eval()) as observer, torch.no_grad():
        module.validation_step(batch, 0)
    seen = observed_call(observer.record)
    check = check_replay(seen, module, lambda: leaving_no_trace(module)) if seen.way != "unseen" else None
    return seen, reading_of(seen, check, seen.task, cautions)


def test_where_all_is_well_there_is_one_line() -> None:
    _, reading = read("Control")
    assert str(reading) == (
        "explains self(batch[0]), which your cross_entropy compares with batch[1]; replayed: equal"
    )
    assert (reading.network, reading.label, reading.loss) == ("", "batch[1]", "cross_entropy")
    assert reading.is_verified
    assert not reading.cautions


def test_what_the_step_does_to_images_is_a_fact_and_no_caution() -> None:
    _, reading = read("NormalizesInTheStep")
    (fact,) = reading.facts
    assert fact.startswith("your step normalizes batch[0]: mean")
    assert reading.line.count("; ") == 2
    assert not reading.cautions


def test_what_the_step_leaves_open_is_a_caution_in_a_line_of_its_own() -> None:
    seen, reading = read("Siamese", ["mine"])
    assert str(reading).splitlines()[1:] == [*seen.sentences[1:], "mine"]


@pytest.mark.parametrize("name", [name for name, facts in CASES.items() if facts.way != "unseen"])
def test_each_sentence_is_said_once(name: str) -> None:
    seen, reading = read(name)
    lines = str(reading)
    for sentence in seen.sentences:
        assert lines.count(sentence) == 1


def test_what_was_not_seen_is_not_verified() -> None:
    _, reading = read("Detection")
    assert reading.network is None
    assert reading.line.endswith("; not verified")


def test_a_function_of_the_users_own_is_compared_with_the_step() -> None:
    seen, _ = read("Control")
    equal = reading_of_function(seen, ReplayCheck(0.0, 0.0, 1.0, 1e-4, 8), "multiclass")
    assert (
        equal.line
        == "explains what your function network= gives, which is compared with batch[1]; replayed: equal"
    )
    other = reading_of_function(seen, ReplayCheck(0.5, None, 2.0, 1e-4, 8), "multiclass")
    assert other.cautions == (
        "network: your function gives other scores than your validation_step: its scores differ by 0.5 of a "
        "spread of 2",
    )


def test_it_is_plain_and_comes_back_from_its_fields() -> None:
    _, reading = read("Siamese")
    assert Reading(**vars(reading)) == reading


def test_more_is_noted_once() -> None:
    _, reading = read("Control")
    noted = reading.noted(["a fact"], ["a doubt"]).noted(["a fact"], ["a doubt", "another"])
    assert str(noted).splitlines() == [reading.line, "a fact", "a doubt", "another"]
