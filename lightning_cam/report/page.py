"""The report page: one HTML file that shows all looks, without a server and without a network."""

import datetime
import html
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from lightning_cam.checks import Normalization, check_normalization
from lightning_cam.data.history import History
from lightning_cam.data.probe import Probe
from lightning_cam.loggers.folder import write
from lightning_cam.metrics.statistics import STATISTICS
from lightning_cam.report.answers import answers_of, counted
from lightning_cam.report.encode import SIDES, Maps, Pictures, pack_images, pack_maps
from lightning_cam.report.record import RunRecord, Unseen
from lightning_cam.report.settings import reading_words
from lightning_cam.report.shortcut_section import Reliances, found_words, shortcut_section
from lightning_cam.report.template import filled, text_of
from lightning_cam.selectors import describe
from lightning_cam.shortcuts.findings import Finding, FindingKey
from lightning_cam.typing import Cams
from lightning_cam.visualization.blend import COLORMAP, EVIDENCE, WEAK, color_table, opacity_of
from lightning_cam.visualization.projection import drawn_size, flat_places, peaks_of
from lightning_cam.visualization.scene import how_drawn
from lightning_cam.visualization.style import Style

MOST_PAGE_BYTES = 3_400_000  # of pictures and maps together; in base64 a third more
LEAST_MAP_BYTES = 1_000_000  # what maps may take in any case
PathOrUrl = TypeVar("PathOrUrl", str, Path)
DRAWN = ("shown", "normalization", "colormap", "opacity")  # settings that say how to draw


def write_report(
    history: History,
    path: PathOrUrl,
    *,
    probe: Probe | Unseen | None = None,
    findings: Sequence[Finding] = (),
    sheets: Mapping[FindingKey, bytes] | None = None,
    predictivities: Mapping[str, float] | None = None,
    reliances: Reliances = (),
    notes: Sequence[str] = (),
    tested: tuple[int, int] | None = None,
    metrics: Mapping[int, Mapping[str, float]] | None = None,
    settings: Mapping[str, Any] | None = None,
    normalization: str | Normalization | None = None,
    colormap: str = COLORMAP,
    opacity: float | str = EVIDENCE,
    shown: int = 16,
) -> PathOrUrl:
    """Writes a page that shows all looks: one HTML file that asks nothing of any network. Returns ``path``.

    A monitor writes it by itself at the end of a fit; its ``history``, ``probe`` and ``findings`` are what
    belongs here.

    Args:
        history: The looks.
        path: Of the file, or a URL that fsspec knows, such as "s3://bucket/report.html"; folders are made.
        probe: The images that were looked at; without them the page shows maps alone.
        findings: Cues that tell the label and that the model relies on.
        sheets: Their evidence as JPEG files, by ``finding.key``.
        predictivities: By cue, Cohen's kappa with which it tells the label, no model asked, in [-1, 1].
        reliances: For each look with tests its epoch and, by cue that was tested, the accuracy lost, in
            [-1, 1].
        notes: What the tests could not test.
        tested: How many images the model answered rightly at the last tests, and of how many.
        metrics: By the step of a look, what the user's validation logged there, by name.
        settings: What else is said of the run, by name.
        normalization: How to undo it for display: "imagenet", (mean, std) or None.
        colormap: Name of a matplotlib colormap.
        opacity: Of the heatmap over the image: "evidence", "constant" or a number in [0, 1], as ``Style``
            has it; the page can change how strong it is.
        shown: How many images are shown, at most.

    Raises:
        ValueError: No looks, or another number of images than of maps.
        OSError: The file cannot be written.

    Example:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> from lightning_cam.data.history import remember
        >>> look = remember(0, 1, torch.rand(2, 4, 4), torch.tensor([0, 1]), torch.rand(2), {})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_report(History((look,)), Path(folder) / "report.html").name
        'report.html'
    """
    if not history.looks:
        raise ValueError("history: it has no looks; give the history of a monitor that has made one.")
    whole = len(history.looks[0].scaled)
    if isinstance(probe, Probe) and len(probe) != whole:
        raise ValueError(
            f"probe: got {len(probe)} images for looks at {whole}; give the images that were looked at."
        )
    style, undone = Style(min(shown, whole), colormap, opacity), check_normalization(normalization)
    data = _data(history, probe or Unseen(), style, undone, sheets or {}, settings or {}) | {
        **shortcut_section(findings, sheets or {}, predictivities or {}, reliances, notes, tested),
        "metrics": _metrics(history, metrics or {}),
        "settings": [[name, _words(value)] for name, value in (settings or {}).items()],
        "written": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
    }
    write(path, filled(data).encode())
    return path


def write_record(record: RunRecord, path: PathOrUrl) -> str:
    """Writes the page of a run; returns what the tests found and where the page lies, in words."""
    written = write_report(
        record.history,
        path,
        probe=record.subject,
        findings=record.findings,
        sheets=record.evidence.jpegs,
        predictivities=record.predictivities,
        reliances=record.reliances,
        notes=record.notes,
        tested=record.tested,
        metrics=record.metrics,
        settings={**record.settings, **reading_words(record.reading)},
        **{name: record.settings[name] for name in DRAWN if name in record.settings},
    )
    found = found_words(record.findings, record.predictivities, record.reliances, record.tested)
    return f"{found}every look on one page: {written}"


def framed_record(record: RunRecord) -> str:
    """The page of a run as HTML for a notebook; a sentence where there is no look yet."""
    if not record.history.looks:
        return "<p>CAMMonitor: no look yet; fit a Trainer that has it among its callbacks.</p>"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        write_record(record, path)
        page = html.escape(path.read_text(encoding="utf-8"))
    return (
        f'<iframe sandbox="allow-scripts" style="width:100%;height:820px;border:0" srcdoc="{page}"></iframe>'
    )


def _data(
    history: History,
    probe: Probe | Unseen,
    style: Style,
    normalization: Normalization | None,
    sheets: Mapping[FindingKey, bytes],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """What the page's script draws from."""
    count, notes = style.shown, []
    if isinstance(probe, Probe):
        images = probe.images[:count].detach().cpu()
        sides, pictures = tuple(images.shape[2:]), pack_images(images, normalization)
        notes += [how_drawn(images)] if how_drawn(images) else []
        if pictures.guessed:
            notes.append(
                "the images' normalization is not known, so their channels are stretched to their range"
            )
    else:
        sides = probe.size or tuple(history.looks[0].scaled.shape[1:])
        pictures = Pictures(drawn_size(torch.empty(1, 1, *sides, device="meta"), *SIDES), ())
        notes.append("the images were not kept, so maps are shown without them")
    if any(_has_weak(look.cams, count) for look in history.looks):
        notes.append("a map is weak below 10 % of the strongest map of its look, and is drawn fainter")
    taken = sum(len(file) for file in (*pictures.files, *sheets.values()))
    maps = pack_maps(history, count, sides, pictures.size, max(LEAST_MAP_BYTES, MOST_PAGE_BYTES - taken))
    if maps.pooled > 1:
        notes.append(f"to keep this page small, maps are averaged over {maps.pooled} x {maps.pooled} cells")
    labels = None if probe.labels is None else probe.labels.cpu()
    colors = (255 * color_table(style.colormap).numpy()).round().astype(np.uint8)
    return {
        "looks": [{"epoch": look.epoch, "step": look.step, **counted(look)} for look in history.looks],
        "probe": len(history.looks[0].scaled),
        **answers_of(history, labels, count, probe.name, settings),
        "pictures": pictures.files,
        **_geometry(pictures, maps),
        "predicted": [look.predicted[:count].tolist() for look in history.looks],
        "confidence": _numbers(np.stack([look.confidence[:count].float().numpy() for look in history.looks])),
        "statistics": _statistics(history, count),
        "colors": text_of(colors.tobytes()),
        "colormap": style.colormap,
        "strongest": [_number(peaks_of(look.cams).max().item()) for look in history.looks],
        "weak": WEAK,
        "opacity": opacity_of(torch.ones(1), style.opacity).item(),  # at the strongest evidence
        "follows": style.opacity == EVIDENCE,
        "notes": notes,
    }


def _has_weak(cams: Cams, count: int) -> bool:
    """Whether one of the first maps is weak beside the strongest of all."""
    peaks = peaks_of(cams)
    shares = peaks[:count] / peaks.max()
    return bool(((shares > 0) & (shares < WEAK)).any())


def _geometry(pictures: Pictures, maps: Maps) -> dict[str, Any]:
    places = flat_places(pictures.size)
    return {
        "width": max(left + width for left, _, width, _ in places),
        "height": max(top + height for _, top, _, height in places),
        "panels": [[*place, *grid] for place, grid in zip(places, maps.grids, strict=True)],
        "maps": text_of(maps.cells.tobytes()),
        "zeros": maps.zeros.tolist(),
        "steps": _numbers(maps.steps),
        "tops": _numbers(maps.tops),
    }


def _statistics(history: History, count: int) -> list[dict[str, Any]]:
    """Each statistic of the shown images, and its mean over the probe, by look."""
    names = dict.fromkeys(name for look in history.looks for name in look.statistics)
    missing = torch.full((len(history.looks[0].scaled),), torch.nan)
    found = []
    for name in names:
        row = STATISTICS.get(name)
        values = [look.statistics.get(name, missing)[:count].float().numpy() for look in history.looks]
        found.append(
            {
                "name": name,
                "unit": getattr(row, "unit", ""),
                "low": _number(getattr(row, "low", math.nan)),
                "high": _number(getattr(row, "high", math.nan)),
                "means": [_number(look.means.get(name, math.nan)) for look in history.looks],
                "values": _numbers(np.stack(values)),
            }
        )
    return found


def _metrics(history: History, metrics: Mapping[int, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Each metric of the user's by look; None where it was not logged."""
    known = [metrics.get(look.step, {}) if look.epoch >= 0 else {} for look in history.looks]
    names = dict.fromkeys(name for found in known for name in found)
    return [
        {"name": name, "values": [_number(found.get(name, math.nan)) for found in known]} for name in names
    ]


def _words(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(
            f"({_words(part)})" if isinstance(part, list | tuple) else _words(part) for part in value
        )
    return "none" if value is None else str(value) if isinstance(value, str | int) else describe(value)


def _number(value: float) -> float | None:
    """To five digits; None where there is none, as JSON knows no other way."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _numbers(values: np.ndarray) -> list[list[float | None]]:
    return [[_number(value) for value in row] for row in values.tolist()]
