"""Fixtures for all tests."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch

pytest.register_assert_rewrite("support", "reference")
torch.set_num_threads(1)  # the networks are small, and the tests run side by side


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test marked as ``needs("package", ...)`` where one of these is missing, as it is with ``[dev]`` alone."""
    for mark in item.iter_markers("needs"):
        for package in mark.args:
            pytest.importorskip(package, reason=f"needs {package}: pip install -e '.[test]'")


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the shape and type checks that the tests otherwise run under: what a user meets."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
