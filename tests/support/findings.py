"""A finding made by hand."""

from lightning_cam.shortcuts.findings import Finding


def finding(cue: str = "border_8", tier: str = "A", **options: int | None) -> Finding:
    return Finding(cue, tier, "notice", 121 / 125, 121, 4, 1e-6, ("a",), **options)
