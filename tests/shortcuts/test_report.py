"""What is told without alarm in the report of shortcuts."""

from dataclasses import replace

import pytest
import torch
from support.planted import ReadsTheTag, tagged
from torch import Tensor, nn

from lightning_cam import Probe, ShortcutReport, find_shortcuts
from lightning_cam.shortcuts.examine import examine
from lightning_cam.shortcuts.partial_input import PARTS
from lightning_cam.shortcuts.predictivity import OFFERS


class ReadsTheColour(ReadsTheTag):
    def forward(self, images: Tensor) -> Tensor:
        return self.features(images).mean(dim=(2, 3))


def report(model: nn.Module | None = None, size: int = 16) -> ShortcutReport:
    images, labels = tagged(36, size).tensors
    return find_shortcuts(model or ReadsTheTag(), Probe(images, labels, class_names=("red", "green", "blue")))


def test_what_the_data_offer_needs_no_model() -> None:
    found, other = report(), report(ReadsTheColour())
    assert set(found.offers) == set(OFFERS)
    assert found.offers == other.offers
    assert found.offers["corners"] == 1
    assert abs(found.offers["spectrum"]) < 0.4


def test_a_model_that_reads_the_border_agrees_with_itself_on_the_border() -> None:
    found = report()
    assert set(found.agreement) == set(PARTS)
    assert found.agreement["border_only"] == 1
    assert found.agreement["shuffled"] < 0.5


def test_a_model_that_reads_the_colour_does_not_mind_where() -> None:
    assert report(ReadsTheColour()).agreement["shuffled"] == 1


def test_the_table_says_it_and_the_passes_count_it() -> None:
    found = report()
    assert (
        "without alarm: the data alone tell the label by border 1.00, corners 1.00, colour" in found.table()
    )
    assert (
        "without alarm: the model agrees with itself (kappa) on border_only 1.00, shuffled " in found.table()
    )
    assert "without alarm" not in replace(found, offers={}, agreement={}).table()

    def ask(images: Tensor, index: Tensor) -> Tensor:
        return ReadsTheTag()(images)

    bare = examine(found.subjects, ask, {}, classes=3, max_batch=36, thorough=True)
    assert (bare.offers, bare.agreement, bare.passes) == ({}, {}, 0)  # the rule's own report is as it was
    assert found.passes == pytest.approx(sum(len(result.pairs.hosts) for result in found.results) / 36 + 2)


def test_images_that_are_too_small_are_not_observed() -> None:
    found = report(size=6)
    assert (found.offers, found.agreement) == ({}, {})


def test_signals_are_not_observed() -> None:
    class Loudest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv1d(3, 3, 1)

        def forward(self, signals: Tensor) -> Tensor:
            return self.features(signals).mean(dim=2)

    found = find_shortcuts(Loudest(), Probe(torch.rand(12, 3, 32), torch.arange(12) % 3))
    assert (found.offers, found.agreement) == ({}, {})


def test_whole_numbers_stay_whole() -> None:
    class Takes(ReadsTheTag):
        def forward(self, images: Tensor) -> Tensor:
            assert images.dtype == torch.uint8
            return super().forward(images.float())

    images, labels = tagged(36).tensors
    found = find_shortcuts(Takes(), Probe((40 * images + 100).clamp(0, 255).to(torch.uint8), labels))
    assert found.agreement["border_only"] == 1


def test_a_finding_says_whose_cue_is_followed() -> None:
    found = report()
    (cell,) = [finding for finding in found.findings if finding.cue == "cell_0_0" and finding.label is None]
    assert found.following(cell) == "red: donor 12, host 0; green: donor 12, host 0; blue: donor 12, host 0"
    result = found.result_of(cell)
    tally = result.by_class[0]
    shares = {0: (1, 3), 1: (0, 0), **{label: (label, 10 - label) for label in range(2, 11)}}
    by_class = {label: replace(tally, donor=donor, host=host) for label, (donor, host) in shares.items()}
    text = replace(found, results=(replace(result, by_class=by_class),), class_names=None).following(cell)
    assert text.startswith("10: donor 10, host 0; 9: donor 9, host 1; ")
    assert text.endswith("3: donor 3, host 7")
    assert text.count(";") == 7
