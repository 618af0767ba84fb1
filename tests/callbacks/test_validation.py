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
    validation.fail(KeyError("planted"))
    assert validation.has_failed
    with pytest.raises(KeyError, match="planted"):
        validation.raise_failure()
