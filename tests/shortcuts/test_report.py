"""What the report of shortcut tests tells: findings, numbers, the table."""

import base64
import io
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image
from support.planted_cues import CLASSES, Reads, noise, reads_tag, reads_tint, tag
from torch import Tensor

from lightning_cam import Probe, ShortcutReport, find_shortcuts
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.partial_input import PARTS

NAMES = ("red", "green", "blue")


def report(scores=reads_tag, size: int = 32, count: int = 60) -> ShortcutReport:
    labels = torch.arange(count) % CLASSES
    return find_shortcuts(Reads(scores), Probe(tag(noise(count, size), labels), labels, class_names=NAMES))


@pytest.fixture(scope="module")
def found() -> ShortcutReport:
    return report()


def test_predictivity_is_of_the_data_alone(found: ShortcutReport) -> None:
    assert set(found.predictivities) == {name for name in CUES if CUES[name].needs != "masks"}
    assert found.predictivities == report(reads_tint).predictivities
    assert found.predictivities["cell_0_0"] > 0.9
    assert found.predictivities["cell_2_2"] < 0.4


def test_reliance_is_of_cues_that_were_tested(found: ShortcutReport) -> None:
    assert set(found.reliances) == {result.cue for result in found.results} < set(CUES)
    assert found.reliances["cell_0_0"] > 0.9


def test_the_map_of_cells(found: ShortcutReport) -> None:
    cells = found.cells_of(found.results[0])
    assert cells is not None
    assert [len(row) for row in cells] == [4] * 4
    assert max(value for row in cells for value in row) == cells[0][0]
    assert replace(found, told=({},)).cells_of(found.results[0]) is None


def test_the_table_has_every_cue_and_says_what_it_cost(found: ShortcutReport) -> None:
    text = found.table()
    assert all(cue in text for cue in found.predictivities)
    (line,) = [line for line in text.splitlines() if line.startswith("cell_0_0 ")]
    assert line.endswith("finding")
    assert f"60 of 60 images are answered rightly; {found.passes:.1f} forward passes of the probe." in text
    assert "Not asked of the model, as they do not tell the label well enough: " in text
    shown = sum(2 * len(result.swaps.own) for result in found.results)
    assert found.passes == pytest.approx(shown / 60 + len(PARTS))


def test_a_notebook_shows_findings_the_evidence_and_every_cue(found: ShortcutReport) -> None:
    shown = found._repr_html_()
    assert [finding.subject for finding in found.findings if finding.subject not in repr(found)] == []
    assert shown.count("<b>Possible shortcut.</b>") == len(found.findings)
    assert found.findings[0].statement in shown
    (picture,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', shown)
    drawn = found.picture(found.findings[0], "tested once", None)
    assert Image.open(io.BytesIO(base64.b64decode(picture))).size == drawn.size
    assert "<pre>cue  " in shown


def test_a_notebook_escapes_the_names_of_classes() -> None:
    labels = torch.arange(60) % CLASSES
    probe = Probe(tag(noise(60, 32), labels), labels, class_names=("<b>", "green", "blue"))
    shown = replace(find_shortcuts(Reads(reads_tag), probe), notes=("a < b",))._repr_html_()
    assert "a &lt; b" in shown
    assert "<b>\n" not in shown


def test_a_notebook_says_that_there_is_no_finding(found: ShortcutReport) -> None:
    shown = replace(found, results=())._repr_html_()
    assert "No finding" in shown
    assert "<img" not in shown


def test_findings_carry_what_was_measured(found: ShortcutReport) -> None:
    (cell,) = [finding for finding in found.findings if finding.cue == "cell_0_0"]
    result = found.result_of(cell)
    assert (cell.reliance, cell.drawn) == (result.reliance.points, result.reliance.excess)
    assert (cell.predictivity, cell.told) == (result.told.kappa, result.told.accuracy)
    assert cell.probe_images == 60
    assert set(cell.classes) == set(NAMES)
    weaker = {0: (0.9, 0.1), 1: (0.5, 0.2), 2: (0.1, 0.44)}
    other = replace(found, results=(replace(result, by_class=weaker),))
    assert other.findings[0].classes == ("red", "green")  # those with half of the largest at least
    assert replace(found, results=(replace(result, holds=False),)).findings == ()


def test_labels_are_called_with_and_without() -> None:
    labels = torch.nn.functional.one_hot(torch.arange(60) % 3, 3)
    images = tag(noise(60), torch.arange(60) % 3)
    several = find_shortcuts(
        Reads(lambda seen: reads_tag(seen) - 1.5), Probe(images, labels, class_names=NAMES), ["cell"]
    )
    (first,) = [finding for finding in several.findings if finding.key == ("cell_0_0", 0)]
    assert first.of == "red"
    assert set(first.classes) == {"with red", "without red"}
    assert "cell_0_0         red " in several.table()
    assert several.hosts == 60
    assert several.agreement == {}


def test_agreement_on_parts(found: ShortcutReport) -> None:
    assert set(found.agreement) == set(PARTS)
    assert found.agreement["shuffled"] < 0.5
    assert report(reads_tint).agreement["shuffled"] == 1  # it does not mind where a colour is


@pytest.mark.parametrize("size", [6, 8])
def test_images_that_are_too_small_have_no_agreement(size: int) -> None:
    def scores(images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))

    assert bool(report(scores, size).agreement) == (size >= 8)
