"""The latest sheet of each finding that stands, small: for the report page, and for the checkpoint it may be
made from.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from lightning_cam.shortcuts.findings import FindingKey
from lightning_cam.visualization.canvas import DrawOne, small_jpeg

MOST_SHEETS = 4


@dataclass
class _Sheet:
    jpeg: bytes = b""  # set as a whole, by the thread that draws


class EvidenceImages:
    """The latest sheet of each finding, at most four.

    The thread of the training alone says of which findings there are sheets, the thread that draws alone
    fills them in; so neither undoes what the other did.
    """

    def __init__(self, state: Iterable[Mapping[str, Any]] = ()) -> None:
        self._sheets = {
            (kept["cue"], kept["label"]): _Sheet(kept["jpeg"].numpy().tobytes()) for kept in state
        }

    def keeping(self, key: FindingKey, draw: DrawOne) -> DrawOne:
        """Draws as ``draw`` does, and keeps what was drawn; who has no place any more is the finding whose
        sheet is oldest.
        """
        sheet = self._sheets.pop(key, _Sheet())
        self._sheets = {**dict(list(self._sheets.items())[1 - MOST_SHEETS :]), key: sheet}

        def drawn() -> Image.Image:
            picture = draw()
            sheet.jpeg = small_jpeg(picture)
            return picture

        return drawn

    def only(self, keys: Iterable[FindingKey]) -> None:
        """Lets go of sheets of all other findings."""
        stand = set(keys)
        self._sheets = {key: sheet for key, sheet in self._sheets.items() if key in stand}

    @property
    def jpegs(self) -> dict[FindingKey, bytes]:
        """What was drawn so far, by finding."""
        return {key: sheet.jpeg for key, sheet in self._sheets.items() if sheet.jpeg}

    def state(self) -> list[dict[str, Any]]:
        """Tensors and primitives that the constructor reads."""
        return [
            {"cue": cue, "label": label, "jpeg": torch.frombuffer(bytearray(jpeg), dtype=torch.uint8)}
            for (cue, label), jpeg in self.jpegs.items()
        ]
