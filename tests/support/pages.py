"""A run to tell on a page, and the page read back."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import seed_everything

from lightning_cam import CAMMonitor, Probe
from lightning_cam.data.history import History, remember
from lightning_cam.shortcuts.findings import Finding
from support.modules import Classifier, loader, trainer

EVIL = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "<!--<script>",
    "]]>&lt;b&gt;",
    "line\u2028and\u2029paragraph",
    "عربي 猫 \U0001f408",
    "' onload='alert(3)",
]


def history(looks: int, count: int, grid: tuple[int, ...], classes: int = 3, signed: bool = False) -> History:
    """Random maps, predictions and statistics; nothing is dropped. The labels are those of ``probe``."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for i in range(looks):
        cams = torch.rand(count, *grid, generator=generator) - (0.6 if signed else 0.0)
        scale = 10.0 ** torch.arange(count).remainder(5).reshape(-1, *[1] * len(grid))
        predicted = torch.randint(classes, (count,), generator=generator)
        values = {
            name: torch.rand(count, generator=generator)
            for name in ("border_mass", "entropy", "drift_last", "of_mine")
        }
        made.append(
            remember(
                epoch=i - 1,
                step=10 * i,
                cams=cams * scale,
                predicted=predicted,
                confidence=torch.rand(count, generator=generator),
                statistics=values,
                right=(predicted == torch.arange(count) % 3).float(),
            )
        )
    return History(tuple(made))


def probe(count: int, *size: int, channels: int = 3, names: list[str] | None = None) -> Probe:
    images = torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(1))
    return Probe(images, torch.arange(count) % 3, class_names=None if names is None else tuple(names))


def finding(**changes: Any) -> Finding:
    """The border, which tells the label and is relied on."""
    known = {
        "cue": "border_8",
        "meaning": "the border",
        "level": "warning",
        "may_warn": True,
        "predictivity": 0.97,
        "told": 0.98,
        "reliance": 0.42,
        "drawn": 0.31,
        "probe_images": 64,
        "classes": ("a",),
        "looks": 2,
        "since": 1,
    }
    return Finding(**{**known, **changes})


class Page(HTMLParser):
    """What a browser's parser makes of the file: elements, and the text of scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.contents: list[str] = []
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.contents.append("")

    def handle_data(self, content: str) -> None:
        if self.elements and self.elements[-1][0] in ("script", "style"):
            self.contents[-1] += content

    @property
    def data(self) -> dict[str, Any]:
        (found,) = [text for text in self.contents if text.startswith("{")]
        return json.loads(found)


def written(path: Path) -> dict[str, Any]:
    return Page(path).data


def fit(directory: Path, monitor: CAMMonitor, model: Any = None, **options: Any) -> Any:
    seed_everything(0, verbose=False)
    fitted = trainer(directory, **{"callbacks": [monitor], **options})
    fitted.fit(model or Classifier(), loader(shuffle=True), loader(seed=1))
    return fitted


def pages(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*.html"))
