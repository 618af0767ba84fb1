"""Chest radiographs with several labels each, read from a folder laid out as CheXpert. Nothing is downloaded."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from lightning_cam.checks import IMAGENET
from research.shortcuts.natural import existing, one_of

CHEXPERT = (
    "the folder with train.csv and valid.csv, see https://stanfordmlgroup.github.io/competitions/chexpert/"
)
# The five that the paper evaluates.
EVALUATED = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
SPLITS = ("train", "valid")
UNCERTAIN = {"unknown": math.nan, "negative": 0.0, "positive": 1.0}
VIEWS = ("Frontal", "Lateral", "all")


class CheXpert(Dataset):
    """Items ``(image (3, size, size), labels (C,))``: images normalized, labels 0 or 1, NaN where nobody knows.

    A field that is empty says that the report does not mention the finding: 0, as in the paper.

    Args:
        root: The folder with train.csv and valid.csv. The paths in them start with the folder's name, which may differ from that of
            ``root``.
        split: "train" or "valid".
        findings: Columns of the CSV.
        uncertain: What -1 becomes: "unknown" (NaN, to be left out of the loss), "negative" or "positive"; the paper's U-Ignore,
            U-Zeros and U-Ones.
        view: "Frontal", "Lateral" or "all".

    Attributes:
        labels: (n, C) of all images.

    Raises:
        ValueError: Files or columns that are missing, or a field that is neither empty nor one of 0, 1 and -1.

    Source: Irvin et al., CheXpert, AAAI 2019. https://arxiv.org/abs/1901.07031
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        findings: Sequence[str] = EVALUATED,
        uncertain: str = "unknown",
        view: str = "Frontal",
        size: int = 224,
    ) -> None:
        one_of("split", split, SPLITS)
        one_of("uncertain", uncertain, tuple(UNCERTAIN))
        one_of("view", view, VIEWS)
        with existing("root", [Path(root, f"{split}.csv")], CHEXPERT)[0].open(newline="") as file:
            reader = csv.DictReader(file)
            for finding in findings:
                one_of("findings", finding, tuple(reader.fieldnames or ()))
            rows = [row for row in reader if view in ("all", row["Frontal/Lateral"])]
        values = {"": 0.0, "0": 0.0, "1": 1.0, "-1": UNCERTAIN[uncertain]}
        self.classes = tuple(findings)
        self.labels = torch.tensor([[number(row, finding, values) for finding in findings] for row in rows])
        # The first part of the path names the release, "CheXpert-v1.0-small": the folder that ``root`` is.
        self.images = existing("root", [Path(root, *Path(row["Path"]).parts[1:]) for row in rows], CHEXPERT)
        self.transform = v2.Compose([
            v2.Resize((size, size)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*IMAGENET),
            v2.ToPureTensor(),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.transform(Image.open(self.images[i]).convert("RGB")), self.labels[i]


def number(row: dict[str, str], finding: str, values: dict[str, float]) -> float:
    field = row[finding].strip().removesuffix(".0")
    if field not in values:
        raise ValueError(
            f"findings: {row['Path']} has {row[finding]!r} for {finding!r}; give a column of 0, 1, -1 and empty fields."
        )
    return values[field]
