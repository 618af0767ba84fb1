"""All cases of reading, in the order of their kinds."""

from support import (  # noqa: F401 - each adds its cases
    read_cases_batches,
    read_cases_datasets,
    read_cases_forms,
    read_cases_heads,
    read_cases_images,
    read_cases_labels,
    read_cases_layers,
    read_cases_numbers,
    read_cases_outputs,
    read_cases_places,
    read_cases_trainers,
)
from support.read_case import CASES, ReadCase

READ_CASES: list[ReadCase] = sorted(CASES, key=lambda case: case.row)
