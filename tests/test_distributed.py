"""What processes say to each other."""

from pathlib import Path

import pytest
import torch
from support.two_ranks import two_ranks

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch was built without torch.distributed"
)


def test_what_ranks_say_to_each_other(tmp_path: Path) -> None:
    for own, found in enumerate(two_ranks(tmp_path, "in shares")["in shares"]):
        assert found["mine"].tolist() == ([0, 20, 40, 60], [10, 30, 50, 0])[own]
        assert found["whole"].tolist() == [0, 10, 20, 30, 40, 50, 60]
        assert found["largest"] == [1, 0]
        assert found["summed"].tolist() == [2.0, 1.0]
        assert found["from zero"] == "rank 0"
        assert found["one"] == (("RankError", "rank 1: KeyError: 'else'"), ("KeyError", "'else'"))[own]
        assert found["memory"] == ("OutOfMemoryError", ("full", "rank 0: OutOfMemoryError: full")[own])
        assert found["both"] == (("RankError", "rank 1: KeyError: 'else'"), ("KeyError", "'else'"))[own]
