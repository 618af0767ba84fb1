"""What is remembered between looks: how much, which looks, how exactly, and through a checkpoint."""

import io
import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.data.history import MOST_BYTES, MOST_LOOKS, History, Look, history_from, remember


def look(
    epoch: int = 0, step: int | None = None, cams: Tensor | None = None, count: int = 3, size: int = 4
) -> Look:
    generator = torch.Generator().manual_seed(epoch + 1)
    cams = torch.randn(count, size, size, generator=generator) if cams is None else cams
    count = len(cams)
    statistics = {
        "entropy": torch.rand(count, generator=generator),
        "border_mass": torch.full((count,), torch.nan),
    }
    predicted, confidence = torch.arange(count) % 5, torch.rand(count, generator=generator)
    return remember(
        epoch, 10 * (epoch + 1) if step is None else step, cams, predicted, confidence, statistics
    )


def after(epochs: int, **options: int) -> History:
    history = History()
    for epoch in range(-1, epochs):
        history = history.added(look(epoch, **options))
    return history


def epochs(looks: Sequence[Look]) -> list[int]:
    return [look.epoch for look in looks]


def test_looks_are_added_in_order() -> None:
    before = after(2)
    history = before.added(look(2))
    assert epochs(history.looks) == [-1, 0, 1, 2]
    assert len(history) == 4
    assert epochs(before.looks) == [-1, 0, 1], "a history does not change"
    assert len(History()) == 0


@pytest.mark.parametrize("count", [63, 64, 65, 100, 257])
def test_at_most_64_looks(count: int) -> None:
    history = History()
    for epoch in range(-1, count - 1):
        history = history.added(look(epoch))
        assert 1 <= len(history) <= MOST_LOOKS == 64
        assert epochs(history.looks)[0] == -1
        assert epochs(history.looks)[-1] == epoch
        assert epochs(history.looks) == sorted(set(epochs(history.looks)))
    assert len(history) > 32 or count <= 32


def test_at_most_16_mib_of_maps() -> None:
    maps = torch.rand(64, 112, 112)  # 1.5 MiB in half precision: ten looks fit
    history = History()
    for epoch in range(-1, 30):
        history = history.added(look(epoch, cams=maps))
        assert sum(look.scaled.nbytes for look in history.looks) <= MOST_BYTES == 16 * 2**20
        assert (epochs(history.looks)[0], epochs(history.looks)[-1]) == (-1, epoch)
    assert len(history) > 5


def test_the_largest_maps_leave_first_and_last() -> None:
    maps = torch.rand(64, 224, 224)  # 6.1 MiB: only two would fit
    history = History()
    for epoch in range(-1, 9):
        history = history.added(look(epoch, cams=maps))
        assert (epochs(history.looks)[0], epochs(history.looks)[-1]) == (-1, epoch)
        assert len(history) <= 4


def test_dropping_keeps_every_second_look() -> None:
    history = after(64)
    assert epochs(history.looks) == [*range(-1, 63, 2), 63]


@pytest.mark.parametrize("count", [1, 2, 5, 9, 10, 11, 40, 64])
@pytest.mark.parametrize("most", [2, 3, 8, 10])
def test_columns(count: int, most: int) -> None:
    history = after(count - 1)
    columns = epochs(history.columns(most))
    assert len(columns) <= most
    assert columns == sorted(set(columns))
    assert (columns[0], columns[-1]) == (-1, count - 2)
    if count <= most:
        assert columns == epochs(history.looks)
    else:
        assert len(columns) == most
        gaps = [later - earlier for earlier, later in itertools.pairwise(columns)]
        assert max(gaps) - min(gaps) <= 1, "evenly"


def test_columns_are_even_in_steps_not_in_looks() -> None:
    # Many looks in the first epoch, then one after each.
    steps = [*range(0, 10), 100, 200, 300, 400, 500, 600, 700, 800, 900]
    history = History()
    for epoch, step in enumerate(steps):
        history = history.added(look(epoch, step))
    assert [look.step for look in history.columns(10)] == [0, *range(100, 1000, 100)]
    assert [look.step for look in history.columns(4)] == [0, 300, 600, 900]


def test_columns_lie_where_most_changed() -> None:
    """Looks of 21 epochs, of which the maps changed in three: evenly in the summed change, as counted by hand."""
    changes = [0.0] * 21
    changes[3], changes[10], changes[11] = 0.5, 0.3, 0.4
    history = History()
    for epoch, change in enumerate(changes):
        cams = torch.rand(3, 2, 2)
        drift = torch.full((3,), change if epoch else torch.nan)
        history = history.added(
            remember(epoch, 10 * epoch, cams, torch.zeros(3).long(), torch.rand(3), {"drift_last": drift})
        )
    # Sums: 0 up to epoch 2, .5 from 3, .8 at 10, 1.2 from 11. Wanted: .3, .6, .9; the nearest that is left, the earliest first.
    assert [look.epoch for look in history.columns(5)] == [0, 3, 4, 10, 20]


def test_peaks_are_the_largest_of_all_looks() -> None:
    cams = torch.tensor([[[1.0, -7.0]], [[0.5, 0.25]]])
    history = History((look(cams=cams), look(cams=torch.tensor([[[2.0, 0.0]], [[-1.0, torch.nan]]]))))
    assert_close(history.peaks(), torch.tensor([2.0, 0.5]), rtol=1e-3, atol=0)
    assert_close(history.peaks(signed=True)[:1], torch.tensor([7.0]), rtol=1e-3, atol=0)


def test_columns_of_looks_at_one_step() -> None:
    history = History(tuple(look(epoch, step=0) for epoch in range(12)))
    columns = epochs(history.columns(5))
    assert (columns[0], columns[-1]) == (0, 11)
    assert len(columns) <= 5


@pytest.mark.parametrize("peak", [1e-30, 1e-9, 1e-4, 1.0, 7e4, 1e6, 1e30])
def test_maps_are_kept_in_half_precision_relative_to_their_peak(peak: float) -> None:
    shape = torch.randn(3, 7, 7, generator=torch.Generator().manual_seed(0))
    cams = peak * shape / shape.abs().amax(dim=(1, 2), keepdim=True)
    kept = look(cams=cams)
    assert kept.scaled.dtype == torch.float16
    assert kept.cams.dtype == torch.float32
    assert_close(kept.peaks, torch.full((3,), peak))
    assert_close(kept.cams, cams, rtol=0, atol=peak * 2**-11)
    assert_close(kept.cams.sign(), cams.sign())


def test_each_map_has_its_own_peak() -> None:
    cams = torch.stack([torch.full((2, 2), 1e-9), torch.full((2, 2), -1e6), torch.zeros(2, 2)])
    kept = look(cams=cams)
    assert_close(kept.peaks, torch.tensor([1e-9, 1e6, 0.0]))
    assert_close(kept.cams, cams)


def test_maps_that_are_not_finite_stay_so_and_spoil_no_other() -> None:
    cams = torch.ones(3, 2, 2)
    cams[0, 0, 0], cams[1, 0, 0] = torch.nan, torch.inf
    kept = look(cams=cams)
    assert not kept.cams[0].isfinite().all()
    assert not kept.cams[1].isfinite().all()
    assert_close(kept.cams[2], torch.ones(2, 2))


def test_a_statistic_in_double_precision_with_a_graph_becomes_plain() -> None:
    values = torch.rand(2, dtype=torch.float64).requires_grad_()
    kept = remember(0, 0, torch.rand(2, 3, 3), torch.tensor([0, 1]), torch.rand(2), {"own": values})
    assert kept.statistics["own"].dtype == torch.float32
    assert not kept.statistics["own"].requires_grad
    assert_close(kept.statistics["own"], values.detach().float())


def test_of_other_images() -> None:
    kept = look(count=3)
    other = kept.of(torch.tensor([2, -1, 0, 2]))
    rows, seen = torch.tensor([2, 0, 2]), torch.tensor([True, False, True, True])
    for name in ("scaled", "peaks", "confidence"):
        found, before = getattr(other, name), getattr(kept, name)
        assert found.dtype == before.dtype
        assert_close(found[seen], before[rows])
        assert found[1].isnan().all()
    assert_close(other.predicted, torch.tensor([2, -1, 0, 2]))
    assert_close(other.cams[seen], kept.cams[rows])
    assert other.cams[1].isnan().all()
    assert_close(other.statistics["entropy"][seen], kept.statistics["entropy"][rows])
    assert other.statistics["entropy"][1].isnan()
    assert (other.epoch, other.step) == (kept.epoch, kept.step)
    assert len(kept.cams) == 3, "the look itself stays"


def test_of_no_image_that_was_looked_at() -> None:
    other = look(count=2).of(torch.tensor([-1, -1, -1]))
    assert other.cams.shape == (3, 4, 4)
    assert other.cams.isnan().all()
    assert other.predicted.tolist() == [-1, -1, -1]
    assert all(math.isnan(mean) for mean in other.means.values())


def test_means_are_of_the_finite_values() -> None:
    values = {
        "all": torch.tensor([1.0, 2.0, 6.0]),
        "some": torch.tensor([torch.nan, 2.0, 4.0]),
        "infinite": torch.tensor([torch.inf, -torch.inf, 0.5]),
        "none": torch.full((3,), torch.nan),
    }
    kept = remember(0, 0, torch.rand(3, 2, 2), torch.arange(3), torch.rand(3), values)
    means = kept.means
    assert math.isnan(means.pop("none"))
    assert means == {"all": 3.0, "some": 3.0, "infinite": 0.5}


def test_a_checkpoint_gives_the_history_back() -> None:
    history = after(3)
    history = history.added(look(3).of(torch.tensor([0, -1, 2])))
    file = io.BytesIO()
    torch.save(history.state(), file)
    back = history_from(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    assert len(back) == 5
    for found, expected in zip(back.looks, history.looks, strict=True):
        assert (found.epoch, found.step, list(found.statistics)) == (
            expected.epoch,
            expected.step,
            list(expected.statistics),
        )
        for name in ("scaled", "peaks", "predicted", "confidence"):
            assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=0, equal_nan=True)
        for name, values in expected.statistics.items():
            assert_close(found.statistics[name], values, rtol=0, atol=0, equal_nan=True)
        assert_close(found.cams, expected.cams, rtol=0, atol=0, equal_nan=True)
    assert epochs(back.added(look(4)).looks) == [-1, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("grid", [(9,), (3, 4, 5)], ids=["signals", "volumes"])
def test_maps_of_signals_and_volumes(grid: tuple[int, ...]) -> None:
    cams = torch.randn(3, *grid, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [1e-9, 1.0, 1e6]
    ).reshape(-1, *[1] * len(grid))
    kept = look(cams=cams)
    assert_close(kept.peaks, cams.flatten(1).abs().amax(dim=1))
    for found, expected, peak in zip(kept.cams, cams, kept.peaks.tolist(), strict=True):
        assert_close(found, expected, rtol=0, atol=peak * 2**-11)
    other = kept.of(torch.tensor([2, -1]))
    assert other.cams.shape == (2, *grid)
    assert_close(other.cams[0], kept.cams[2])
    assert other.cams[1].isnan().all()
    (back,) = history_from(History().added(kept).state()).looks
    assert_close(back.cams, kept.cams, rtol=0, atol=0)


def test_an_empty_history_goes_through_a_checkpoint() -> None:
    assert History().state() == []
    assert len(history_from([])) == 0


def test_a_look_keeps_what_was_right_and_how_sure_of_several_labels() -> None:
    right, shares = (
        torch.tensor([1.0, 0.5, torch.nan]),
        torch.tensor([[0.25, 0.5], [0.75, 1.0], [0.0, 0.125]]),
    )
    plain = remember(0, 0, torch.rand(3, 2, 2), torch.zeros(3).long(), torch.rand(3), {})
    assert plain.right.isnan().all()
    assert plain.confidences is None
    kept = remember(0, 0, torch.rand(3, 2, 2), torch.zeros(3).long(), torch.rand(3), {}, right, shares)
    for look in (kept, history_from(History((kept,)).state()).looks[0]):
        assert_close(look.right, right, equal_nan=True)
        assert_close(look.confidences, shares.half())
    some = kept.of(torch.tensor([1, -1]))
    assert_close(some.right, torch.tensor([0.5, torch.nan]), equal_nan=True)
    assert_close(some.confidences[0], shares[1].half())
    assert some.confidences[1].isnan().all()


def test_what_is_kept_of_several_labels_counts_for_the_bound() -> None:
    shares = torch.rand(64, MOST_BYTES // 2 // 64 // 8)  # eight looks' worth
    history = History()
    for epoch in range(12):
        history = history.added(
            remember(
                epoch, epoch, torch.rand(64, 1, 1), torch.zeros(64).long(), torch.rand(64), {}, None, shares
            )
        )
        assert len(history) <= 8
