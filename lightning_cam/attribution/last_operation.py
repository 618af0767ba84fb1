"""The last operation of a network: what autograd's graph says of how an output was made."""

import re
from typing import Any

from torch import Tensor

SIGMOID, SOFTMAX, LOG_SOFTMAX = "sigmoid", "softmax", "log_softmax"
OPERATIONS = {"Sigmoid": SIGMOID, "Softmax": SOFTMAX, "LogSoftmax": LOG_SOFTMAX}
# Nodes that pass numbers on, some of them or in another order, shape or dtype, but make no new ones.
PASSING = {
    "Alias", "AsStrided", "Cat", "Clamp", "ClampMax", "ClampMin", "Clone", "Expand", "Index", "IndexSelect",
    "Permute", "ReshapeAlias", "Select", "Slice", "Split", "SplitWithSizes", "Squeeze", "Stack", "T",
    "ToCopy", "Transpose", "Unbind", "UnsafeView", "Unsqueeze", "View",
}  # fmt: skip


def last_operation(outputs: Tensor) -> str:
    """What made these numbers: "sigmoid", "softmax" or "log_softmax"; empty where it was another operation,
    or where there is no graph.

    Looked for behind views, reshapes, slices, casts and clamps; of parts that were put together all must
    agree.
    """
    return _operation(outputs.grad_fn)


def _operation(node: Any) -> str:
    name = "" if node is None else re.sub(r"Backward\d*$", "", type(node).__name__)
    if name not in PASSING:
        return OPERATIONS.get(name, "")
    found = {_operation(before) for before, _ in node.next_functions}
    return found.pop() if len(found) == 1 else ""
