"""Two processes: the same weights with and without the monitor, the same maps as one process has, and nobody waits for ever."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning.strategies import SingleDeviceStrategy
from support.modules import Classifier, data, loader, trainer
from support.two_ranks import Found, shortcuts, the_probe, two_ranks

from lightning_cam import CAMMonitor, explain

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch was built without torch.distributed"
)

Pairs = dict[str, tuple[Found, Found]]


def equal(found: tuple[Found, Found], expected: tuple[Found, Found]) -> None:
    """Each rank's weights and metrics are those of the same rank without a monitor."""
    for part in ("weights", "metrics"):
        for own, other in zip(found, expected, strict=True):
            torch.testing.assert_close(own[part], other[part], rtol=0, atol=0)


def alike(pair: tuple[Found, Found]) -> None:
    """Both ranks know the same of the looks; one alone speaks."""
    first, second = pair
    assert first["scalars"] == second["scalars"]
    for tests in ("findings", "predictivities", "reliances"):
        assert first[tests] == second[tests]
    torch.testing.assert_close(first["probe"], second["probe"], rtol=0, atol=0)
    torch.testing.assert_close(first["looks"], second["looks"], rtol=0, atol=0, equal_nan=True)
    assert second["warnings"] == []


def epochs(found: Found) -> list[int]:
    return [epoch for epoch, _, _ in found["looks"]]


def test_the_same_weights_and_maps(tmp_path: Path) -> None:
    found = two_ranks(
        tmp_path, "without", "with", "own probe", "accumulated without", "accumulated", "watched"
    )
    for name in ("with", "own probe", "watched", "accumulated"):
        alike(found[name])
    for name in ("with", "own probe", "watched"):
        equal(found[name], found["without"])
        assert epochs(found[name][0]) == [-1, 0, 1]
    equal(found["accumulated"], found["accumulated without"])
    images, labels = found["with"][0]["probe"]
    assert labels.bincount().tolist() == [3, 3, 3]
    places = [
        (data(24, seed=1).tensors[0] == image).flatten(1).all(dim=1).nonzero().item() for image in images
    ]
    assert {place % 2 for place in places} == {0, 1}, "every other image is rank one's"
    # The last look came after the last step: one process explains the same weights.
    model = Classifier()
    model.load_state_dict(found["own probe"][0]["weights"])
    probe = the_probe()
    expected = explain(model, probe.images, target="label", labels=probe.labels).cams
    kept = found["own probe"][0]["looks"][-1][2]  # to half precision
    torch.testing.assert_close(kept, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


@pytest.mark.skipif(torch.__version__ < "2.7", reason="torch 2.6 cannot run FSDP2 on the CPU, monitor or not")
def test_sharded_parameters(tmp_path: Path) -> None:
    found = two_ranks(
        tmp_path, *(f"{kind}{how}" for kind in ("sharded", "sharded as a whole") for how in ("", " without"))
    )
    for kind in ("sharded", "sharded as a whole"):
        alike(found[kind])
        equal(found[kind], found[f"{kind} without"])
        assert epochs(found[kind][0]) == [-1, 0, 1]
        assert all(cams.isfinite().all() and cams.amax() > 0 for _, _, cams in found[kind][0]["looks"][1:])


def test_shared_tests_count_as_those_of_one_process(tmp_path: Path) -> None:
    pair = two_ranks(tmp_path, "shortcuts")["shortcuts"]
    alike(pair)
    alone = shortcuts(tmp_path / "alone", strategy="auto", devices=1)
    assert pair[0]["findings"] == alone["findings"]
    assert alone["findings"] == [("cell_0_0", None, "warning", 3), ("border_8", None, "warning", 3)]
    assert pair[0]["predictivities"] == pytest.approx(alone["predictivities"])
    assert alone["predictivities"]["cell_0_0"] == 1
    assert [epoch for epoch, _ in alone["reliances"]] == [0, 1, 2]
    assert pair[0]["reliances"] == alone["reliances"]
    tests = {name: value for name, value in alone["scalars"].items() if name.startswith("cam/shortcut")}
    assert {name: pair[0]["scalars"][name] for name in tests} == tests
    assert tests["cam/shortcut/cell_0_0"] == 1


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("tests fail on rank 1", "LookupError: planted"),
        ("features fail on rank 1", "ArithmeticError: planted"),
    ],
)
def test_shortcut_tests_that_fail_on_one_rank_end_on_both_and_looks_go_on(
    name: str, cause: str, tmp_path: Path
) -> None:
    pair = two_ranks(tmp_path, name)[name]
    alike(pair)
    (off,) = [words for words in pair[0]["warnings"] if "switched" in words]
    assert "shortcut tests are switched off in epoch 0" in off
    assert f"RankError: rank 1: {cause}" in off
    assert epochs(pair[0]) == [-1, 0, 1, 2]
    assert pair[0]["findings"] == []
    assert "cam/shortcut_reliance" not in pair[0]["scalars"]
    assert "cam/shortcut/cell_0_0" not in pair[0]["scalars"]


def test_ranks_that_have_other_images_test_together(tmp_path: Path) -> None:
    names = ["masks on rank 0", "another size on rank 1"]
    found = two_ranks(tmp_path, *names)
    for name in names:
        alike(found[name])
        assert not [words for words in found[name][0]["warnings"] if "switched" in words]
        assert ("cell_0_0", None, "warning", 2) in found[name][0]["findings"]
        assert found[name][0]["predictivities"]["cell_0_0"] == 1
        assert "background" not in found[name][0]["predictivities"]
    (left_out,) = [words for words in found[names[1]][0]["warnings"] if "differ in size" in words]
    assert "24 images differ in size from the first one and are left out" in left_out


def test_the_probe_is_balanced_over_all_ranks_where_each_has_classes_of_its_own(tmp_path: Path) -> None:
    pair = two_ranks(tmp_path, "classes apart")["classes apart"]
    alike(pair)
    assert pair[0]["probe"][1].bincount().tolist() == [3, 3, 3]
    assert epochs(pair[0]) == [-1, 0, 1]
    assert not [words for words in pair[0]["warnings"] if "switched" in words]


def test_images_named_by_index_come_from_every_rank(tmp_path: Path) -> None:
    images, labels = data(24, seed=1).tensors
    rows = torch.tensor([20, 3, 11, 2])
    for found in two_ranks(tmp_path, "indices")["indices"]:
        torch.testing.assert_close(found["probe"], images[rows], rtol=0, atol=0)
        assert found["labels"].tolist() == labels[rows].tolist()


def test_a_failure_on_one_rank_switches_off_all(tmp_path: Path) -> None:
    names = ["method fails on rank 1", "method fails on rank 0", "labels fail on rank 1"]
    found = two_ranks(tmp_path, "without", *names)
    for name in names:
        alike(found[name])
        equal(found[name], found["without"])
        assert "rank 1" in " ".join(found[name][0]["warnings"]) or name.endswith("rank 0")
        (off,) = [
            words
            for words in found[name][0]["warnings"]
            if "switched itself off in epoch 0; training goes on" in words
        ]
        assert "planted" in off
        assert found[name][0]["epoch"] == 2


def test_what_befalls_one_rank_alone_does_not_end_the_looks(tmp_path: Path) -> None:
    names = ["memory runs out on rank 1", "logger fails"]
    found = two_ranks(tmp_path, "without", *names)
    for name, said in zip(
        names, ("memory ran out with 8 images at once", "No space left on device"), strict=True
    ):
        alike(found[name])
        equal(found[name], found["without"])
        assert epochs(found[name][0]) == [-1, 0, 1]
        assert sum(said in words for words in found[name][0]["warnings"]) == 1


def test_validations_of_different_length(tmp_path: Path) -> None:
    found = two_ranks(tmp_path, "lengths differ", "streams")
    alike(found["lengths differ"])
    alike(found["streams"])
    assert epochs(found["lengths differ"][0]) == [-1, 0, 1]
    assert epochs(found["streams"][0])[-2:] == [1, 2]


def test_a_rehearsal_that_fails_on_one_rank_raises_on_both(tmp_path: Path) -> None:
    first, second = two_ranks(tmp_path, "rehearsal fails on rank 1")["rehearsal fails on rank 1"]
    assert first["error"] == "RankError: rank 1: ValueError: planted"
    assert second["error"] == "ValueError: planted"


def test_what_keeps_no_whole_parameter_is_refused(tmp_path: Path) -> None:
    class Zero(SingleDeviceStrategy):
        zero_stage_3 = True  # as DeepSpeedStrategy says it

    monitor = CAMMonitor(probe=9)
    fitted = trainer(tmp_path, callbacks=[monitor], accelerator="auto", strategy=Zero("cpu"))
    with pytest.warns(
        UserWarning, match="ZeRO stage 3 has no whole parameter on any rank.*use stage 2, or FSDP2"
    ):
        fitted.fit(Classifier(), loader(), loader(seed=1))
    assert (monitor.probe, fitted.current_epoch) == (None, 2)
