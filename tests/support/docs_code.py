"""The code in README and in docs/: its blocks, and the names that they take for granted."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"^(?:<!-- (?P<note>[^\n]*) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
NOT_RUN = "not run: "
INLINE = re.compile(r"`((?:python (?:-m )?[a-z]|lightning-cam )[^`]*)`")


@dataclass(frozen=True)
class Block:
    """A fenced block with a language; its note is the comment in the line above."""

    page: str
    language: str
    code: str
    note: str

    @property
    def reason(self) -> str:
        """Why it is not run; "" where it is."""
        return self.note.removeprefix(NOT_RUN) if self.note.startswith(NOT_RUN) else ""


def pages() -> list[str]:
    """README and the pages for users, as paths from the root; the design papers are for those who change the package."""
    found = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "howto").glob("*.md")]
    return ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in found)]


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(page, found["language"], found["code"], found["note"] or "") for found in FENCE.finditer(text)
    ]


def commands(page: str) -> list[str]:
    """What a page tells its reader to type: lines of bash blocks, and commands within sentences and tables."""
    lines = [
        part.strip()
        for block in blocks(page)
        if block.language == "bash"
        for part in re.split(r"&&|\n", block.code)
    ]
    text = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    return [line for line in [*lines, *INLINE.findall(text)] if line]


class TagReader(nn.Module):
    """Two classes, told apart by a red or a green tag: a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU())
        self.head = nn.Linear(8, 2)
        with torch.no_grad():
            self.features[0].weight[:2] = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])[:, :, None, None]
            self.features[0].bias.zero_()
            self.head.weight.zero_()
            self.head.weight[:, :2] = 100 * torch.eye(2)
            self.head.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))


class Module(LightningModule):
    """What trains it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = TagReader()

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor]) -> None:
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-4)


def names() -> dict[str, Any]:
    """What a reader has: a model, images, labels, a module and its loaders."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    images = torch.rand(64, 1, 32, 32, generator=generator).repeat(1, 3, 1, 1)
    images[:, :2, :8, :8] = F.one_hot(labels, 2).float()[:, :, None, None]
    loader = DataLoader(TensorDataset(images, labels), batch_size=16)
    model = TagReader().eval()
    return {
        "Trainer": Trainer, "model": model, "images": images, "labels": labels, "loader": loader,
        "masks": torch.zeros(64, 32, 32, dtype=torch.bool).index_fill(1, torch.arange(8, 24), True),
        "several": F.one_hot(labels, 2), "tagger": model,
        "regressor": nn.Sequential(model, nn.Linear(2, 1)).eval(),
        "segmenter": nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval(),
        "module": Module(), "train_loader": loader, "val_loader": loader,
    }  # fmt: skip
