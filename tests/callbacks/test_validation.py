"""One pass over the validation loaders: which batch is the last, and what one rank has met."""

import pytest

from lightning_cam.callbacks.collection import LoaderFacts
from lightning_cam.callbacks.validation import Validation

FACTS = LoaderFacts(3, None, None)


def test_the_last_batch_is_that_of_the_length() -> None:
    assert [Validation(3, FACTS).is_last(batch) for batch in range(3)] == [False, False, True]


def test_where_nobody_knows_the_length_each_may_be_the_last() -> None:
    assert all(Validation(None, FACTS).is_last(batch) for batch in range(3))


def test_a_failure_is_kept_until_all_ranks_are_asked() -> None:
    validation = Validation(3, FACTS)
    validation.raise_failure()
    assert not validation.has_failed
    with validation.keeping_failure(has_probe=False):
        raise KeyError("planted")
    assert validation.has_failed
    with pytest.raises(KeyError, match="planted"):
        validation.raise_failure()


@pytest.mark.parametrize(("error", "is_kept"), [(ValueError("planted"), False), (KeyError("planted"), True)])
def test_a_batch_need_not_resemble_a_probe_that_is_known(error: Exception, is_kept: bool) -> None:
    validation = Validation(3, FACTS)
    with validation.keeping_failure(has_probe=True):
        raise error
    assert validation.has_failed == is_kept
