"""The figures of README and docs/ can still be had, and the bounds that they stand for hold."""

import json
import math
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

for package in ("captum", "pytorch_grad_cam", "skimage", "torchcam"):
    pytest.importorskip(package, reason=f"needs {package}: pip install -e '.[test]'")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SINGLE_LOOK = ["gradcam", "gradcam++", "xgradcam", "hirescam", "gradcam-elementwise", "layercam"]
TOGETHER = "the six above together"

Row = dict[str, dict[str, Any]]  # a library's figures


def printed(script: str, *options: str, limit: int = 300) -> str:
    """What a benchmark prints."""
    command = [sys.executable, str(BENCHMARKS / script), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=limit, check=True).stdout  # noqa: S603


def ratios(*options: str) -> tuple[float, float]:
    """Time and memory of a look as ratios to the inference forward."""
    row = next(line for line in printed("look.py", *options).splitlines() if line.startswith("| look |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    return float(cells[2]), float(cells[4])


def figures(folder: Path, *options: str, limit: int = 300) -> dict[str, dict[str, Row]]:
    """The raw figures of ``methods.py``: by model, method and library."""
    path = folder / "figures.json"
    printed("methods.py", *options, "--json", str(path), limit=limit)
    models = json.loads(path.read_text())["models"]
    return {name: {row["method"]: row["cells"] for row in rows} for name, rows in models.items()}


def time_beside(mine: dict[str, Any], base: list[float]) -> float:
    """Median ratio of times, round by round; a run that was not repeated is set beside every round."""
    times = mine["times"] * (len(base) if mine["single"] else 1)
    return statistics.median(time / beside for time, beside in zip(times, base, strict=True))


def test_a_look_needs_the_memory_of_inference() -> None:
    _, memory = ratios("--rounds", "1", "--images", "4")
    assert memory <= 1.1  # counted, not timed: the same on every machine


def test_shortcut_tests_stay_within_their_passes() -> None:
    rows = printed("shortcut_tests.py", "--model", "resnet18", "--size", "32", "--rounds", "1").splitlines()
    cells = {line.split("|")[1].strip(): line.split("|")[4:6] for line in rows if "the class" in line}
    (asked, passes), (most_asked, most) = (
        map(float, cells[name]) for name in ("nothing tells the class", "a frame tells the class")
    )
    assert (asked, passes) == (0, 0)  # what does not tell the label is not asked about
    assert most_asked >= 8
    assert most <= 2 * 8 + 3 * 4  # eight cues, and the three with the largest loss twice more


def test_waiting_is_measured_beside_inference_and_the_same_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    options = ["--parts", "wait", "--images", "9", "--size", "64", "--max-batch", "4", "--rounds", "2"]
    lines = printed("overhead.py", *options, "--json", str(path)).splitlines()
    head, rule, row = (line.strip("|").split("|") for line in lines if line.startswith("|"))
    assert len(head) == len(rule) == len(row)
    assert row[0].strip() == "resnet18, 9 in batches of 4"

    (found,) = json.loads(path.read_text())["wait"]
    assert found["looks"] == 3 + 1  # the first and two rounds, and one more whose memory is recorded
    for times in (
        found[name] for name in ("inference", "monitor", "look", "by_hand", "behind", "behind_by_hand")
    ):
        assert len(times) == 3
        assert all(math.isfinite(time) and time > 0 for time in times)
    assert all(look < whole for look, whole in zip(found["look"], found["monitor"], strict=True))
    assert found["difference"] < 1e-2  # the same images at the same layer; the history keeps half precision
    assert found["peaks"]["CAMMonitor"] >= found["peaks"]["inference"]  # it runs the same forward
    assert (
        found["peaks"]["ByHand"] > 2 * found["peaks"]["inference"]
    )  # its graph is that of the whole network


def test_a_share_of_an_epoch_is_that_of_the_dearest_case(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    options = ["--parts", "share", "--images", "16", "--size", "32", "--validation", "32"]
    lines = printed("overhead.py", *options, "--json", str(path)).splitlines()
    head, rule, row = (line.strip("|").split("|") for line in lines if line.startswith("|"))
    assert len(head) == len(rule) == len(row)

    (found,) = json.loads(path.read_text())["share"]
    assert found["hosts"] == 16
    assert found["looks"] == len(found["monitor"]) == len(found["training"]) == 5
    assert found["means"][0] > max(found["means"][1:])  # taken once
    assert all(math.isfinite(time) and time > 0 for time in found["training"] + found["monitor"])


@pytest.mark.full
@pytest.mark.alone
def test_a_look_costs_an_inference_forward() -> None:
    time, memory = ratios()
    assert time <= 1.05
    assert memory <= 1.1


@pytest.mark.skipif(
    Version(version("torchcam")) < Version("0.5"),
    reason="torchcam 0.4, which goes with matplotlib 3.8, cannot",
)
def test_every_method_is_measured_beside_its_peers(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    options = [
        "--models",
        "resnet18",
        "--methods",
        "gradcam",
        "layercam",
        "ablationcam",
        "--size",
        "64",
        "--images",
        "2",
    ]
    output = printed("methods.py", *options, "--rounds", "1", "--json", str(path))

    assert "| | lightning_cam | pytorch-grad-cam | torchcam | captum |" in output
    assert [
        line.split(" | ")[0] for line in output.splitlines() if " / " in line and line.startswith("| ")
    ] == [
        "| gradcam",
        "| layercam",
        "| ablationcam, 1 image",
    ]
    rows = {row["method"]: row["cells"] for row in json.loads(path.read_text())["models"]["resnet18"]}
    assert {method: list(cells) for method, cells in rows.items()} == {
        "gradcam": ["lightning_cam", "pytorch-grad-cam", "torchcam", "captum"],
        "layercam": ["lightning_cam", "pytorch-grad-cam", "torchcam"],
        "ablationcam": ["lightning_cam", "pytorch-grad-cam"],
    }
    for cells in rows.values():
        for cell in cells.values():
            assert cell["reason"] == ""
            assert len(cell["times"]) == len(cell["inference_times"]) == 1
            assert cell["deviation"] < 1e-4  # after a ReLU, and of a score above 0, these peers are right too
        # Peers keep a graph of the whole network, or run all of it on every ablated copy.
        assert cells["lightning_cam"]["peak"] < cells["pytorch-grad-cam"]["peak"]


def test_a_peer_that_fails_leaves_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    options = [
        "--models",
        "vit_b_16",
        "--methods",
        "gradcam",
        "--peers",
        "captum",
        "--images",
        "1",
        "--rounds",
        "1",
    ]
    output = printed("methods.py", *options, "--json", str(path))
    assert "| - (1) |" in output
    assert "(1) captum: ValueError: LayerGradCam takes dimension 1 for the channels" in output
    (row,) = json.loads(path.read_text())["models"]["vit_b_16"]
    assert row["cells"]["captum"]["times"] == []
    assert row["cells"]["lightning_cam"]["deviation"] < 1e-4


@pytest.mark.full
@pytest.mark.alone
@pytest.mark.parametrize(
    ("model", "most", "most_together"),
    [
        ("resnet50", 1.05, 1.2),
        ("convnext_tiny", 1.05, 1.2),
        ("alexnet", 1.6, None),
        ("vgg16", 1.6, None),
        ("vit_b_16", 1.6, None),
    ],
)
def test_a_look_costs_little_beside_inference(
    tmp_path: Path, model: str, most: float, most_together: float | None
) -> None:
    methods = [*SINGLE_LOOK, *(["together"] if most_together else [])]
    options = ["--models", model, "--methods", *methods, "--peers", "--images", "16", "--rounds", "9"]
    rows = figures(tmp_path, *options, limit=3600)[model]
    mine = {method: cells["lightning_cam"] for method, cells in rows.items()}
    found = {method: time_beside(cell, cell["inference_times"]) for method, cell in mine.items()}
    bounds = dict.fromkeys(SINGLE_LOOK, most) | ({TOGETHER: most_together} if most_together else {})
    assert list(found) == list(bounds)
    assert all(found[method] <= bounds[method] for method in found), found


@pytest.mark.full
@pytest.mark.alone
@pytest.mark.parametrize("model", ["resnet18", "resnet50"])
def test_ablation_cam_is_fifty_times_faster_with_equal_weights(tmp_path: Path, model: str) -> None:
    options = ["--models", model, "--methods", "ablationcam", "--peers", "pytorch-grad-cam", "--rounds", "3"]
    cells = figures(tmp_path, *options, limit=3600)[model]["ablationcam"]
    mine, other = cells["lightning_cam"], cells["pytorch-grad-cam"]
    assert time_beside(other, mine["times"]) >= 50
    # A channel's drop is the score divided by some thousand: float32 leaves it 2048 * 6e-8 of rounding.
    assert mine["deviation"] < 1e-3
    assert other["deviation"] < 1e-3


@pytest.mark.full
@pytest.mark.alone
def test_score_cam_is_as_fast_as_the_fastest_peer(tmp_path: Path) -> None:
    options = [
        "--models",
        "resnet18",
        "--methods",
        "scorecam",
        "--peers",
        "pytorch-grad-cam",
        "torchcam",
        "--rounds",
        "5",
        "--patience",
        "600",
    ]
    cells = figures(tmp_path, *options, limit=3600)["resnet18"]["scorecam"]
    mine = cells.pop("lightning_cam")
    assert sorted(cells) == ["pytorch-grad-cam", "torchcam"]
    for other in cells.values():
        assert time_beside(mine, other["times"]) <= 1.05
    assert mine["deviation"] < 1e-4


@pytest.mark.needs("skimage", "sklearn", "captum", "pytorch_grad_cam", "torchcam")
def test_pictures_keep_light_and_contrast_and_a_look_is_small(tmp_path: Path) -> None:
    sheet = tmp_path / "overlays.jpg"
    lines = printed("pictures.py", "--sizes", "64", "--epochs", "4", "--output", str(sheet)).splitlines()
    kept = {cells[1].strip(): cells[2:4] for line in lines if len(cells := line.split("|")) == 5}
    for name in ("lightning_cam", 'colormap="turbo"'):
        assert all(int(cell.strip(" %")) >= 95 for cell in kept[name])
    for name in ("opacity 0.5, inferno", "pytorch-grad-cam", "torchcam", "captum"):
        assert any(int(cell.strip(" %")) < 80 for cell in kept[name])
    assert int(kept["64 x 64"][0]) < 150
    assert sheet.stat().st_size < 300_000
