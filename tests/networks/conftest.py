"""Fixtures for networks of libraries."""

import gc
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def one_at_a_time() -> Iterator[None]:
    yield
    gc.collect()  # networks of gigabytes hold themselves in cycles


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
