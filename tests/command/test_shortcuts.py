"""``lightning-cam shortcuts``: a folder in which a tag tells the class, and a network that reads it."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from support.command import Run, running
from support.files import picture_at
from torch import nn

from lightning_cam.command.shortcuts import class_numbers, image_folder, spread

CLASSES = {"bird": (220, 40, 40), "cat": (40, 220, 40), "dog": (40, 40, 220), "fish": (220, 220, 40)}
EACH = 24
MODEL = "shufflenet_v2_x0_5"
SIDE = 64


def write_images(folder: Path, with_tag: bool) -> None:
    """Soft noise, and with a tag a corner in the colour of the class."""
    random = np.random.default_rng(0)
    for name, color in CLASSES.items():
        (folder / name).mkdir(parents=True)
        for number in range(EACH):
            noise = Image.fromarray(random.integers(60, 200, (4, 4, 3)).astype(np.uint8))
            image = noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            if with_tag:
                image.paste(color, (0, 0, 18, 18))
            image.save(folder / name / f"{number:02d}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with the tag and without, and the weights of a network whose last layer was fitted to the tagged ones."""
    folder = tmp_path_factory.mktemp("shortcuts")
    for name in ("tagged", "clean"):
        write_images(folder / name, name == "tagged")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.get_model(MODEL, num_classes=len(CLASSES)).eval()
    head, model.fc = model.fc, nn.Identity()
    transform = torchvision.models.get_model_weights(MODEL).DEFAULT.transforms()
    images = image_folder(folder / "tagged", transform)
    with torch.inference_mode():
        features = torch.cat([model(images[i][0][None]) for i in range(len(images))]).double()
    wanted = torch.nn.functional.one_hot(torch.tensor(images.targets)).double() - 1 / len(CLASSES)
    mean = features.mean(dim=0)
    spread_out = features - mean
    ridge = 1e-3 * spread_out.pow(2).mean() * torch.eye(features.shape[1], dtype=torch.double)
    weight = torch.linalg.solve(
        spread_out.T @ spread_out / len(features) + ridge, spread_out.T @ wanted / len(features)
    )
    head.load_state_dict({"weight": 10 * weight.T.float(), "bias": -10 * (mean @ weight).float()})
    model.fc = head
    torch.save(
        {"state_dict": {f"net.{key}": value for key, value in model.state_dict().items()}},
        folder / "run.ckpt",
    )
    return folder


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return running("shortcuts", folder, monkeypatch, capsys, ("--model", MODEL))


def test_the_tag_is_found_in_points_of_accuracy(run: Run, folder: Path) -> None:
    options = (
        "--checkpoint",
        "run.ckpt",
        "--probe",
        "40",
        "--picture",
        "found.png",
        "--csv",
        "groups.csv",
        "--table",
    )
    status, printed, refusal = run("tagged", *options, "--cue", "cell_0_0")
    assert status == 0, refusal
    assert "tagged: 96 images of 4 classes\n  bird: class 0\n" in printed
    assert (
        "Possible shortcut (cell_0_0): The top-left corner. It alone, without the model, tells the class in"
        in printed
    )
    assert "Accuracy on 40 probe images falls by " in printed
    assert "predictivity  reliance" in printed
    assert picture_at(folder / "found.png").width > 300
    with (folder / "groups.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 96
    assert Path(rows[0]["file"]) == Path("tagged/bird/00.png")
    assert {row["label"] for row in rows} == {"0", "1", "2", "3"}
    assert sum(row["says"] == row["label"] for row in rows) > 88
    assert "  cat, carries: " in printed


def test_without_the_tag_nothing_is_found(run: Run, folder: Path) -> None:
    status, printed, refusal = run("clean", "--checkpoint", "run.ckpt", "--most", "64", "--csv", "none.csv")
    assert status == 0, refusal
    assert "clean: 64 of 96 images of 4 classes" in printed
    assert "Shortcut tests: " in printed
    assert "Possible shortcut" not in printed
    assert "not written: none.csv, as there is no finding" in printed
    assert not (folder / "none.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("none", "--checkpoint", "run.ckpt"), "FOLDER: there is no folder none."),
        (("empty", "--checkpoint", "run.ckpt"), "FOLDER: empty has not one subfolder with images per class"),
        (
            ("one", "--checkpoint", "run.ckpt"),
            "FOLDER: one has one subfolder, 'a'; give images of two classes",
        ),
        (("broken", "--checkpoint", "run.ckpt"), "image: broken/a/text.png cannot be read as an image"),
        (
            ("two", "--checkpoint", "run.ckpt"),
            "FOLDER: no class 'a'; none is close: give a number. There are 2 sub",
        ),
        (("tagged", "--checkpoint", "none.ckpt"), "--checkpoint: there is no file none.ckpt."),
        (
            ("tagged", "--checkpoint", "run.ckpt", "--csv", "groups.txt"),
            "--csv: got 'groups.txt'; give a name that",
        ),
        (("tagged", "--checkpoint", "run.ckpt", "--probe", "0"), "argument --probe: got 0; give at least 1"),
    ],
)
def test_what_is_refused(options: tuple[str, ...], message: str, run: Run, folder: Path) -> None:
    for name in ("empty", "one/a", "broken/a", "broken/b", "two/a", "two/b"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (8, 8))
    for name in ("one/a", "broken/b", "two/a", "two/b"):
        image.save(folder / name / "image.png")
    (folder / "broken/a/text.png").write_text("no image")
    status, _, refusal = run(*options)
    assert status == 2
    assert message in refusal
    assert "Traceback" not in refusal


def test_a_cue_without_a_finding_is_refused_where_there_are_others(run: Run) -> None:
    status, _, refusal = run("tagged", "--checkpoint", "run.ckpt", "--probe", "40", "--cue", "cell_9_9")
    assert status == 2
    assert "--cue: no finding of 'cell_9_9'; there are " in refusal


def test_subfolders_are_classes_by_name_or_by_order() -> None:
    assert class_numbers(["Dog", "cat"], ["cat", "dog"]) == [1, 0]
    assert class_numbers(["a", "b"], ["class 0", "class 1"]) == [0, 1]
    assert class_numbers(["tabby", "lynx"], ["bee", "lynx", "tabby, tabby cat"]) == [2, 1]
    with pytest.raises(
        ValueError, match=r"FOLDER: no class 'linx'; did you mean 1 'lynx'\? There are 2 subfolders"
    ):
        class_numbers(["tabby", "linx"], ["bee", "lynx", "tabby"])
    with pytest.raises(
        ValueError, match=r"FOLDER: lynx and Lynx are both class 1 'lynx'; put them into one sub"
    ):
        class_numbers(["lynx", "Lynx"], ["bee", "lynx", "tabby"])


def test_images_are_chosen_evenly_and_classes_in_turn() -> None:
    labels = [0] * 10 + [1] * 10 + [2] * 2
    assert spread(labels, 22) == list(range(22))
    assert spread(labels, 6) == [0, 5, 10, 15, 20, 21]
    assert [labels[i] for i in spread(labels, 3)] == [0, 1, 2]
    assert len(spread(labels, 11)) == 10, "a class may have fewer"
    assert spread(labels, 2) == [0, 10]
