"""The examples that people copy train as a user runs them, shortened, on small folders that are made here."""

import csv
import os
import random
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image, ImageDraw
from support.stored import from_wandb, wandb_rows
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = "shufflenet_v2_x0_5"


def trained(
    script: str, *options: object, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The script has run to its end in ``folder``, and the monitor with it."""
    command = [sys.executable, str(EXAMPLES / script), *map(str, options)]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(  # noqa: S603 - our own script
        command, capture_output=True, text=True, timeout=300, check=False, cwd=folder, env=quiet
    )
    assert done.returncode == 0, done.stderr
    assert "switched itself off" not in done.stderr
    return done


def refused(script: str, *options: object, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the script says where it ends before training; a traceback would be another exception."""
    monkeypatch.setattr(sys, "argv", [script, *map(str, options)])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    return str(left.value.code)


def events(folder: Path) -> tuple[dict[str, list[int]], dict[str, list[float]]]:
    """Of all event files below a folder: by tag, the steps of pictures and the values of scalars."""
    pictures: dict[str, list[int]] = {}
    scalars: dict[str, list[float]] = {}
    for path in sorted(
        folder.rglob("events.out.tfevents.*"), key=lambda path: int(path.name.rpartition(".")[2])
    ):
        found = EventAccumulator(str(path), size_guidance={"images": 0, "scalars": 0})
        found.Reload()
        for tag in found.Tags()["images"]:
            pictures.setdefault(tag, []).extend(event.step for event in found.Images(tag))
            assert all(event.width > 100 for event in found.Images(tag))
        for tag in found.Tags()["scalars"]:
            scalars.setdefault(tag, []).extend(event.value for event in found.Scalars(tag))
    return pictures, scalars


def checkpoint(folder: Path) -> dict[str, Any]:
    (path,) = folder.rglob("*.ckpt")
    return torch.load(path, weights_only=False)


def monitors(state: dict[str, Any]) -> dict[str, Any]:
    (found,) = (part for key, part in state["callbacks"].items() if key.startswith("CAMMonitor"))
    return found


# --- finetune.py


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Discs and squares in ``shapes/train`` and ``shapes/val``, sorted by class; and the weights of a network that saw none."""
    place = random.Random(0)
    for split, count in (("train", 6), ("val", 4)):
        for shape in ("disc", "square"):
            (tmp_path / "shapes" / split / shape).mkdir(parents=True)
            for i in range(count):
                image = Image.new("RGB", (90, 70), (40, 60, 80))
                x, y = place.randrange(5, 50), place.randrange(5, 30)
                pen = ImageDraw.Draw(image)
                (pen.ellipse if shape == "disc" else pen.rectangle)(
                    (x, y, x + 30, y + 30), fill=(220, 180, 60)
                )
                image.save(tmp_path / "shapes" / split / shape / f"{i}.jpg")
    torch.manual_seed(1)
    torch.save(torchvision.models.get_model(SMALL).state_dict(), tmp_path / "weights.pth")
    return tmp_path


def fine_tuned(folder: Path, frozen_epochs: int, epochs: int) -> subprocess.CompletedProcess[str]:
    options = [
        "--model",
        SMALL,
        "--checkpoint",
        "weights.pth",
        "--workers",
        0,
        "--batch-size",
        4,
        "--root",
        "runs",
    ]
    return trained(
        "finetune.py", "shapes", *options, "--frozen-epochs", frozen_epochs, "--epochs", epochs, folder=folder
    )


def backbone(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix("backbone."): part
        for name, part in state["state_dict"].items()
        if name.startswith("backbone.")
    }


def test_finetune_leaves_a_frozen_backbone_as_it_was(shapes: Path) -> None:
    fine_tuned(shapes, 1, 0)
    given, state = torch.load(shapes / "weights.pth"), checkpoint(shapes)
    kept = backbone(state)
    assert set(given) - set(kept) == {"fc.weight", "fc.bias"}
    for name, part in kept.items():  # the running statistics of batch norms among them
        torch.testing.assert_close(part, given[name], rtol=0, atol=0, msg=name)
    moved = state["optimizer_states"][0]["state"].values()
    assert [tuple(moments["exp_avg"].shape) for moments in moved] == [
        (2, 1024),
        (2,),
    ]  # the head alone was trained
    assert all(moments["step"] == 3 for moments in moved)


def test_finetune_then_trains_everything_and_the_monitor_goes_on(shapes: Path) -> None:
    done = fine_tuned(shapes, 1, 2)
    given, state = torch.load(shapes / "weights.pth"), checkpoint(shapes)
    for name, part in backbone(state).items():
        assert not torch.equal(part, given[name]), name
    assert len(state["optimizer_states"][0]["state"]) == len(
        list(torchvision.models.get_model(SMALL).parameters())
    )
    monitor = monitors(state)
    assert monitor["probe"]["class_names"] == ("disc", "square")
    assert monitor["probe"]["labels"].bincount().tolist() == [4, 4]
    assert monitor["probe"]["labels"].tolist() != sorted(monitor["probe"]["labels"].tolist())
    assert [look["epoch"] for look in monitor["history"]] == [-1, 0, 1, 2]
    pictures, scalars = events(shapes / "runs")
    assert (pictures["cam/overlay"], pictures["cam/evolution"]) == ([2, 5, 8], [2, 8])
    assert len(scalars["cam/border_mass"]) == len(scalars["val_accuracy"]) == 3
    assert "tensorboard --logdir runs/lightning_logs --samples_per_plugin images=1000" in done.stderr


def test_finetune_says_how_to_go_on_without_a_network(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(shapes / "empty"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody answers
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    said = refused("finetune.py", shapes / "shapes", monkeypatch=monkeypatch)
    assert said.startswith("--weights: torchvision could not fetch those of 'resnet18' (<urlopen error")
    assert "--checkpoint FILE" in said
    assert "--weights none" in said


@pytest.mark.parametrize(
    ("wrong", "options", "message"),
    [
        (
            "",
            ["elsewhere"],
            "FOLDER: [Errno 2] No such file or directory: 'elsewhere/train'; give a folder that holds train/<class>/*",
        ),
        (
            "val",
            ["shapes"],
            "FOLDER: [Errno 2] No such file or directory: 'shapes/val'; give a folder that holds train/<class>/*",
        ),
        (
            "val/disc",
            ["shapes"],
            "FOLDER: train has the classes ['disc', 'square'] and val ['square']; give both the same.",
        ),
        (
            "",
            ["shapes", "--checkpoint", "none.pth"],
            "--checkpoint: no file 'none.pth'; give a state dict of torchvision's 'resnet18'",
        ),
    ],
)
def test_finetune_names_what_is_wrong(
    wrong: str, options: list[str], message: str, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wrong:
        (shapes / "shapes" / wrong).rename(shapes / "moved")
    monkeypatch.chdir(shapes)
    assert message in refused("finetune.py", *options, monkeypatch=monkeypatch)


# --- cli.py


@pytest.mark.needs("jsonargparse", "sklearn")
def test_the_configuration_reaches_the_monitor(tmp_path: Path) -> None:
    config = yaml.safe_load((EXAMPLES / "cli.yaml").read_text())
    (given,) = (
        part for part in config["trainer"]["callbacks"] if part["class_path"] == "lightning_cam.CAMMonitor"
    )
    done = trained(
        "cli.py", "fit", "--config", EXAMPLES / "cli.yaml", "--trainer.max_epochs", 4, folder=tmp_path
    )
    pictures, scalars = events(tmp_path / "lightning_logs")
    assert given["init_args"]["every_n_epochs"] == 3
    assert (
        pictures["cam/overlay"] == pictures["cam/evolution"] == [21, 65]
    )  # of 22 steps an epoch; epochs 0 and 2
    assert len(scalars["cam/border_mass"]) == len(scalars["val_accuracy"]) == 4
    assert max(scalars["val_accuracy"]) > 0.5
    assert scalars["cam/border_mass"][0] == scalars["cam/border_mass"][1] != scalars["cam/border_mass"][2]
    monitor = monitors(checkpoint(tmp_path))
    assert len(monitor["probe"]["labels"]) == given["init_args"]["probe"]
    assert monitor["probe"]["class_names"][:2] == ("digit 0", "digit 1")
    (written,) = tmp_path.rglob("config.yaml")
    kept = yaml.safe_load(written.read_text())["trainer"]["callbacks"][0]
    assert kept["class_path"] == "lightning_cam.CAMMonitor"
    for name, value in given["init_args"].items():
        found = kept["init_args"][name]  # of a group all is kept, also what was not given
        assert ({key: found[key] for key in value} if isinstance(value, dict) else found) == value
    assert (
        "Possible shortcut" not in done.stderr
    )  # a cue that is expected is no warning, and there is no other


# --- wandb_logger.py


@pytest.mark.needs("sklearn", "wandb")
def test_pictures_are_in_the_offline_run(tmp_path: Path) -> None:
    quiet = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    trained("wandb_logger.py", "--epochs", 2, "--root", tmp_path, folder=tmp_path, **quiet)
    stored, rows = from_wandb(tmp_path), wandb_rows(tmp_path)
    assert sorted(stored.pictures) == sorted(stored.scalars) == [21, 43]
    strips = [row["cam/evolution/filenames"] for row in rows if "cam/evolution/filenames" in row]
    (files,) = tmp_path.glob("wandb/offline-run-*/files")
    first, second = (np.asarray(Image.open(files / name).convert("L")) for (name,) in strips)
    assert first.shape == second.shape
    assert (first != second).mean() > 0.01  # a column more
    for picture in stored.pictures.values():
        assert np.asarray(picture.convert("L")).std() > 20
    assert monitors(checkpoint(tmp_path))["probe"]["class_names"] == tuple(f"digit {i}" for i in range(10))


# --- waterbirds.py


CLASSES = ("030.Fish_Crow", "001.Black_footed_Albatross")  # of CUB; a landbird, then a waterbird
COLORS = ((50, 110, 40), (50, 90, 170))  # of land and of water


def bird(label: int, place: int, chance: random.Random) -> tuple[Image.Image, Image.Image]:
    """A bird of any colour, waterbirds with the longer beak, on speckled land or water in any light; and its mask."""
    width, height = chance.choice([(96, 72), (72, 96)])
    speckles = np.random.default_rng(chance.randrange(2**32)).integers(-25, 26, (height // 3, width // 3, 3))
    light = chance.uniform(0.3, 1.2)
    ground = np.clip(light * np.array(COLORS[place]) + speckles, 0, 255).astype(np.uint8)
    image, mask = (
        Image.fromarray(ground).resize((width, height), Image.Resampling.NEAREST),
        Image.new("L", (width, height)),
    )
    size = chance.randrange(22, 30)
    x, y = chance.randrange(4, width - size - 10), chance.randrange(4, height - size - 4)
    beak = [
        (x + size, y + size // 5),
        (x + size + (8 if label else 3), y + size // 4),
        (x + size, y + size // 3),
    ]
    color = tuple(chance.randrange(120, 200) for _ in range(3))
    for canvas, fill in ((image, color), (mask, 255)):
        pen = ImageDraw.Draw(canvas)
        pen.ellipse((x, y + size // 3, x + size, y + size), fill=fill)
        pen.ellipse((x + size * 2 // 3, y, x + size * 9 // 8, y + size // 2), fill=fill)
        pen.polygon(beak, fill=fill)
    return image, mask


def waterbirds(folder: Path, aligned: float, counts: dict[int, int]) -> None:
    """``birds`` and ``masks``: of the training images a share ``aligned`` is where it belongs, of the others half."""
    chance = random.Random(0)
    rows = []
    for split, count in counts.items():
        for i in range(count):
            label = i % 2
            place = i // 2 % 2 if split else label if chance.random() < aligned else 1 - label
            name = f"{CLASSES[label]}/{CLASSES[label][4:]}_{split}_{i:04d}"
            for path, picture in zip(
                (folder / "birds" / f"{name}.jpg", folder / "masks" / f"{name}.png"),
                bird(label, place, chance),
                strict=True,
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)
            rows.append([len(rows) + 1, f"{name}.jpg", label, split, place, f"/x/{i:05d}.jpg"])
    with (folder / "birds" / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["img_id", "img_filename", "y", "split", "place", "place_filename"], *rows]
        )


QUICK = [
    "--weights",
    "none",
    "--model",
    SMALL,
    "--size",
    64,
    "--batch-size",
    8,
    "--learning-rate",
    2e-3,
    "--workers",
    0,
]


def numbers(printed: str) -> dict[str, float]:
    """What stands behind each number that the script prints at its end."""
    lines = [
        line.split(maxsplit=1)
        for line in printed.partition("\naccuracy ")[2].splitlines()
        if line.startswith("  0.")
    ]
    more = [line.split(maxsplit=1) for line in printed.splitlines() if line.startswith("  1.")]
    return {words: float(number) for number, words in [*lines, *more]}


def test_waterbirds_whose_background_decides(tmp_path: Path) -> None:
    waterbirds(tmp_path, 0.97, {0: 560, 1: 4, 2: 48})
    done = trained("waterbirds.py", "birds", "--masks", "masks", *QUICK, "--epochs", 3, folder=tmp_path)
    told, (pictures, scalars) = numbers(done.stdout), events(tmp_path)
    # It reads the background: well where birds are where they belong, as on validation images, and badly elsewhere.
    assert scalars["val_accuracy"][-1] > 0.9
    worst = min(told["landbird on water"], told["waterbird on land"])
    assert worst < 0.3
    assert f"{worst:.3f} in the worst group" in done.stdout
    assert min(told["landbird on land"], told["waterbird on water"]) > 0.8
    # And the monitor says so.
    assert re.search("Possible shortcut: .*the background", done.stderr)
    assert "  warning: The background. " in done.stdout
    lost = told["of accuracy is lost when the background comes from a bird of the other class"]
    assert lost == pytest.approx(scalars["cam/shortcut/background"][-1], abs=6e-4)
    assert lost > 0.3
    # The masks are those of the images.
    areas = [np.asarray(Image.open(path)).mean() / 255 for path in (tmp_path / "masks").rglob("*.png")]
    assert told["of these images is bird"] == pytest.approx(np.mean(areas), abs=0.01)
    assert told["of the saliency is on the bird"] == pytest.approx(scalars["cam/mass_inside"][-1], abs=6e-4)
    assert len(pictures["cam/overlay"]) == 3
    assert "cam/alert" in pictures


def test_waterbirds_whose_background_tells_nothing(tmp_path: Path) -> None:
    waterbirds(tmp_path, 0.5, {0: 160, 1: 4, 2: 16})
    done = trained("waterbirds.py", "birds", "--masks", "masks", *QUICK, "--epochs", 3, folder=tmp_path)
    _, scalars = events(tmp_path)
    assert len(scalars["cam/mass_inside"]) == 3
    assert "Possible shortcut" not in done.stderr
    assert "The background:" not in done.stdout
    assert "  the background was not tested" in done.stdout


def test_waterbirds_without_masks(tmp_path: Path) -> None:
    waterbirds(tmp_path, 0.97, {0: 40, 2: 8})
    done = trained("waterbirds.py", "birds", *QUICK, "--epochs", 1, folder=tmp_path)
    assert "8 test images" in done.stdout
    assert "is bird" not in done.stdout
    _, scalars = events(tmp_path)
    assert "cam/border_mass" in scalars
    assert "cam/mass_inside" not in scalars


@pytest.mark.parametrize(
    ("moved", "options", "message"),
    [
        (
            "birds/metadata.csv",
            [],
            r"ROOT: no file 'birds/metadata.csv'; give the folder waterbird_complete95_forest2water2",
        ),
        (
            f"birds/{CLASSES[0]}",
            [],
            f"ROOT: no file 'birds/{CLASSES[0]}/Fish_Crow_0_0000.jpg'; give the folder waterbird_",
        ),
        (
            "masks",
            ["--masks", "masks"],
            f"--masks: no file 'masks/{CLASSES[0]}/Fish_Crow_0_0000.png'; give the folder segmentations",
        ),
    ],
)
def test_waterbirds_names_what_is_missing(
    moved: str, options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waterbirds(tmp_path, 1.0, {0: 4, 2: 4})
    (tmp_path / moved).rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert message in refused("waterbirds.py", "birds", *options, monkeypatch=monkeypatch)


# --- multilabel.py, segmentation.py, regression.py


def reading_of(folder: Path) -> dict[str, Any]:
    """What the monitor has read, of which all is verified."""
    reading = monitors(checkpoint(folder))["reading"]
    assert reading["is_verified"]
    assert reading["label"] == "batch[1]"
    return reading


def has_mark(images: torch.Tensor) -> torch.Tensor:
    """Whether the place of multilabel.py's mark is of one colour, image by image."""
    place = images[:, :, 112:124, 112:124].float().flatten(2)
    return (place.amax(dim=2) == place.amin(dim=2)).all(dim=1)


@pytest.mark.needs("sklearn")
def test_multilabel_has_a_map_for_each_label_and_one_looks_at_the_mark(tmp_path: Path) -> None:
    done = trained("multilabel.py", "--epochs", 6, "--root", tmp_path, folder=tmp_path)
    reading, probe = reading_of(tmp_path), monitors(checkpoint(tmp_path))["probe"]
    assert reading["task"] == "multilabel"
    assert reading["loss"] == "binary_cross_entropy_with_logits"
    assert f"The monitor {reading['explained']}; replayed: equal" in done.stdout
    assert probe["class_names"] == ("flower", "pagoda", "face", "flag", "tree")
    present = probe["labels"].sum(dim=1)
    assert present.unique().tolist() == [2, 3]
    assert (
        probe["labels"].sum(dim=0).min() > len(present) / 3
    )  # balanced: each label is on half of the images
    assert torch.equal(has_mark(probe["images"]), probe["labels"][:, -1] == 1)
    pictures, _ = events(tmp_path)
    assert pictures["cam/overlay"] == [31, 63, 95, 127, 159, 191]
    assert pictures["cam/classes"] == [
        31,
        95,
        191,
    ]  # at 2 and 4 looks, the untrained one counts, and at the end
    head, *lines = done.stdout.partition("\nlabel  ")[2].splitlines()
    assert head.split() == ["aligned", "removed", "swapped", "on", "itself", "in", "the", "corner"]
    rows = {line.split()[0]: [float(value) for value in line.split()[1:]] for line in lines[:5]}
    assert tuple(rows) == probe["class_names"]
    *others, tree = rows.values()
    for aligned, removed, swapped, itself, corner in others:
        assert aligned == pytest.approx(removed, abs=0.05)
        assert aligned == pytest.approx(swapped, abs=0.05)
        assert itself > 5 * corner
    # The tree, of which the mark tells, is missed where the mark says otherwise; its maps lie there, and no
    # other label's do.
    assert tree[2] < tree[0] - 0.2
    assert tree[4] > 2 * max(row[4] for row in others)
    # The monitor says so, of this label and of this place.
    warned = re.findall(r"CAMMonitor: Possible shortcut: ([^.]*)\. .* whether '(\w+)' is there", done.stderr)
    assert ("the bottom-right corner", "tree") in warned
    assert {label for _, label in warned} == {"tree"}


@pytest.mark.needs("sklearn")
def test_multilabel_without_a_mark(tmp_path: Path) -> None:
    options = ["--clean", "--images", 128, "--epochs", 1, "--root", tmp_path]
    trained("multilabel.py", *options, folder=tmp_path)
    probe = monitors(checkpoint(tmp_path))["probe"]
    assert probe["labels"][:, -1].sum() > 0
    assert not has_mark(probe["images"]).any()


@pytest.mark.needs("sklearn")
def test_segmentation_explains_the_pixels_of_one_thing(tmp_path: Path) -> None:
    done = trained("segmentation.py", "--epochs", 4, "--root", tmp_path, folder=tmp_path)
    reading, state = reading_of(tmp_path), monitors(checkpoint(tmp_path))
    assert (reading["task"], reading["loss"]) == ("multiclass", "cross_entropy")  # of each pixel
    assert f"The monitor {reading['explained']}; replayed: equal" in done.stdout
    assert state["settings"]["target layer"] == "up_fine"
    assert "target_layer:" not in done.stderr  # all evidence passes through it
    assert state["probe"]["labels"] is None
    pictures, scalars = events(tmp_path)
    assert pictures["cam/overlay"] == [15, 31, 47, 63]
    assert scalars["cam/blank"][-1] < 0.2  # it finds the thing where it is
    assert scalars["val_iou"][-1] > 0.5
    assert f"{scalars['val_iou'][-1]:.3f}  intersection over union of the flower" in done.stdout


@pytest.mark.needs("sklearn")
def test_regression_looks_at_what_it_measures(tmp_path: Path) -> None:
    done = trained("regression.py", "--epochs", 6, "--root", tmp_path, folder=tmp_path)
    reading, probe = reading_of(tmp_path), monitors(checkpoint(tmp_path))["probe"]
    assert reading["task"] == "regression"
    assert reading["loss"] == "mse_loss"
    assert f"The monitor {reading['explained']}; replayed: equal" in done.stdout
    assert probe["labels"].is_floating_point()
    assert probe["class_names"] is None
    pictures, scalars = events(tmp_path)
    assert pictures["cam/overlay"] == [31, 63, 95, 127, 159, 191]
    assert "cam/classes" not in pictures
    error, on_flower = (
        float(line.split()[0]) for line in done.stdout.splitlines() if line.endswith(("per cent", "flower"))
    )
    assert error == pytest.approx(scalars["val_error"][-1], abs=6e-4)
    assert error < 2  # of numbers up to 14, and 0 in half of the images
    assert on_flower > 0.5
