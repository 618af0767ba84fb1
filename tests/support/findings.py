"""A finding made by hand."""

from typing import Any

from lightning_cam.shortcuts.findings import Finding


def finding(cue: str = "border_8", may_warn: bool = True, **options: Any) -> Finding:
    made = {
        "meaning": "the border",
        "level": "notice",
        "predictivity": 0.99,
        "told": 0.993,
        "reliance": 0.89,
        "drawn": 0.4,
        "probe_images": 64,
        "classes": ("a",),
    }
    return Finding(cue=cue, may_warn=may_warn, **{**made, **options})
