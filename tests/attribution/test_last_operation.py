"""What ends a network, read off autograd's graph."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_cam.attribution.last_operation import last_operation

LOGITS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))

ENDS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "nn.Sigmoid": (nn.Sigmoid(), "sigmoid"),
    "torch.sigmoid": (torch.sigmoid, "sigmoid"),
    "in place": (lambda logits: (logits * 1).sigmoid_(), "sigmoid"),
    "squeezed": (lambda logits: logits[:, :1].sigmoid().squeeze(1), "sigmoid"),
    "flattened": (lambda logits: logits[:, :1].sigmoid().flatten(), "sigmoid"),
    "one column": (lambda logits: logits.sigmoid()[:, 0], "sigmoid"),
    "reshaped": (lambda logits: logits.sigmoid().reshape(2, 6).view(4, 3), "sigmoid"),
    "cast": (lambda logits: logits.sigmoid().half().float(), "sigmoid"),
    "cloned": (lambda logits: logits.sigmoid().clone().contiguous(), "sigmoid"),
    "clamped": (lambda logits: logits.sigmoid().clamp(1e-7, 1 - 1e-7), "sigmoid"),
    "transposed": (lambda logits: logits.sigmoid().t().t(), "sigmoid"),
    "of several heads": (lambda logits: torch.cat([logits[:, :1].sigmoid(), logits[:, 1:].sigmoid()], 1), "sigmoid"),
    "of unlike heads": (lambda logits: torch.cat([logits[:, :1].sigmoid(), logits[:, 1:].softmax(1)], 1), ""),
    "softmax": (nn.Softmax(dim=1), "softmax"),
    "log_softmax": (lambda logits: F.log_softmax(logits, dim=1), "log_softmax"),
    "none": (nn.Linear(3, 2), ""),
    "scaled after it": (lambda logits: 100 * logits.sigmoid(), ""),
    "sigmoid in the middle": (lambda logits: logits.sigmoid() @ torch.ones(3, 2), ""),
    "logsigmoid": (F.logsigmoid, ""),
}  # fmt: skip


@pytest.mark.parametrize(("end", "expected"), ENDS.values(), ids=ENDS.keys())
def test_the_last_operation(end: Callable[[Tensor], Tensor], expected: str) -> None:
    assert last_operation(end(LOGITS.clone().requires_grad_())) == expected


def test_without_a_graph_nothing_is_known() -> None:
    assert last_operation(LOGITS.sigmoid()) == ""
    with torch.no_grad():
        assert last_operation(LOGITS.clone().requires_grad_().sigmoid()) == ""


def test_under_autocast() -> None:
    layer = nn.Linear(3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(LOGITS).sigmoid()
    assert found.dtype == torch.bfloat16
    assert last_operation(found.float()) == "sigmoid"
