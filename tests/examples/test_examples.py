"""The examples run as a user runs them, shortened."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

pytestmark = pytest.mark.needs("sklearn")
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("options", [[], ["--clean"]], ids=["tag", "clean"])
def test_digits(options: list[str], tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(EXAMPLES / "digits.py"),
        "--epochs",
        "4",
        "--root",
        str(tmp_path),
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    table = done.stdout.partition("epoch   aligned   removed   shuffled      border    corners\n")[
        2
    ].splitlines()
    assert [line.split()[0] for line in table[:2]] == ["0", "1"]
    assert f"tensorboard --logdir {tmp_path}/lightning_logs --samples_per_plugin images=1000" in done.stdout
    assert list(tmp_path.rglob("events.out.tfevents.*"))
    assert "switched itself off" not in done.stderr
    said = done.stdout + done.stderr
    if options:
        assert "shortcut:" not in said  # neither a warning nor a notice
    else:  # in the second epoch, by name and in points of accuracy
        assert re.search(
            r"CAMMonitor: Possible shortcut: the top-left corner. .* falls by \d\d points .*"
            r"\(2 looks in a row, since epoch 0\)",
            done.stderr,
        )


def test_mitigate(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "mitigate.py"), "--epochs", "2", "--root", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert "Possible shortcut: the top-left corner" in done.stderr
    assert "The monitor warned: The top-left corner" in done.stdout
    assert "Trainer.fit` stopped: `max_epochs=2` reached" in done.stderr
    # The groups are those of the images that were trained on, a line for each.
    with (tmp_path / "groups.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(4 * 1347))
    against = [row for row in rows if row["group_name"].endswith("contradicts")]
    assert len(against) == pytest.approx(0.05 * len(rows), rel=0.25)
    assert all(int(row["group"]) == 2 * int(row["label"]) + (row in against) for row in rows[:500])
    (right,) = re.findall(r"what was planted in (\d+\.\d) %", done.stdout)
    assert float(right) > 99
    table = done.stdout.partition("accuracy      ordinary   swapped   removed\n")[2].splitlines()
    before, after = ([float(value) for value in line.split()[1:]] for line in table[:2])
    assert after[1] > before[1] + 0.3  # swapped
    assert after[0] > before[0] - 0.03  # ordinary


COLUMNS = "ins - del +- deletion insertion drop increase ROAD same s/image"


def chosen(*options: str) -> dict[str, list[float]]:
    """The table that choose_method.py prints: by method, in the order of its rows."""
    command = [sys.executable, str(EXAMPLES / "choose_method.py"), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)  # noqa: S603
    assert done.returncode == 0, done.stderr
    head, _, *rows = done.stdout.split("\n\n")[1].splitlines()
    assert head.split() == ["method", *COLUMNS.split()]
    return {row.split()[0]: [float(value) for value in row.split()[1:]] for row in rows}


def test_choose_method() -> None:
    rows = chosen("--methods", "random", "gradcam", "--images", "6", "--epochs", "3")
    assert list(rows) == ["gradcam", "random"]  # the better one first
    names = ["ins - del", "+-", "deletion", "insertion", "drop", "increase", "ROAD", "same", "s/image"]
    found, noise = (dict(zip(names, rows[method], strict=True)) for method in ("gradcam", "random"))
    assert found["deletion"] < noise["deletion"]
    assert found["insertion"] > noise["insertion"]
    assert found["ROAD"] > noise["ROAD"] + 0.05
    assert noise["same"] == 1  # it does not look at the model
    assert found["ins - del"] == pytest.approx(found["insertion"] - found["deletion"], abs=0.0011)


def test_choose_method_for_a_checkpoint_and_a_folder(tmp_path: Path) -> None:
    model = torchvision.models.get_model("shufflenet_v2_x0_5", num_classes=3)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "model.pth")
    (tmp_path / "images" / "below").mkdir(parents=True)
    for name, mode in (("one.png", "RGB"), ("below/two.jpg", "L")):
        Image.effect_noise((120, 90), 60).convert(mode).save(tmp_path / "images" / name)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    folder = [
        "--model",
        "shufflenet_v2_x0_5",
        "--checkpoint",
        str(tmp_path / "model.pth"),
        "--images-folder",
        str(tmp_path / "images"),
    ]
    rows = chosen("--methods", "gradcam", "--stages", "1", *folder)
    assert list(rows) == ["gradcam"]
    assert all(value == value for value in rows["gradcam"][:7])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "resnet18"], "--model, --checkpoint and --images-folder go together"),
        (["--methods", "gradcan"], "invalid choice: 'gradcan'"),
    ],
)
def test_choose_method_refuses(options: list[str], message: str) -> None:
    command = [sys.executable, str(EXAMPLES / "choose_method.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
    assert done.returncode == 2
    assert message in done.stderr


def test_explain_image(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), tmp_path / "own.pth")
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "image.png")
    command = [
        sys.executable,
        str(EXAMPLES / "explain_image.py"),
        "image.png",
        "tabby",
        "lynx",
        "--weights",
        "own.pth",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)  # noqa: S603
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "explained.npz") as found:
        assert found["target_classes"].tolist() == [281]
        assert found["class_names"][281] == "tabby"
    with Image.open(tmp_path / "explained.png") as picture:
        assert picture.width > 3 * picture.height, "image, two overlays, their difference"
