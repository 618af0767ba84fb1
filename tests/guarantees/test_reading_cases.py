"""The cases themselves, without a monitor: there is one of every kind, and each user's step knows what it is said to know."""

import pytest
import torch
from support.read_case import KINDS, ReadCase
from support.read_cases import READ_CASES
from support.read_outcome import own_answers


def ids(case: ReadCase) -> str:
    return f"{case.row:02d}-{case.name}"


def test_there_is_a_case_of_every_kind() -> None:
    assert {case.row for case in READ_CASES} == set(range(1, KINDS + 1))


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in READ_CASES}) == len(READ_CASES)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=ids(case), marks=pytest.mark.needs(*case.needs))
        for case in READ_CASES
        if not case.remedied
    ],
)
def test_the_users_own_step_is_right(case: ReadCase) -> None:
    setup = case.make()
    own = own_answers(setup)
    if setup.labels is not None:
        assert len(setup.labels) == len(setup.seen)
    if own.right is not None:
        assert own.right.shape == (len(setup.seen),)
        assert own.right.mean() >= case.own
    if case.task == "regression" and setup.labels is not None:
        pairs = torch.stack([own.sure, setup.labels.reshape(len(own.sure), -1)[:, 0].float()])
        assert torch.corrcoef(pairs)[0, 1] >= case.own
