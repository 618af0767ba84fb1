"""The datasets of ``natural.py`` are read from folders laid out as the real ones, and its command runs on them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.datasets import OxfordIIITPet
from torchvision.models import resnet18

from research.shortcuts import natural
from research.shortcuts.natural import Pets, Waterbirds, group_accuracy

SCRIPT = "research.shortcuts.natural"
CLASSES = ("001.Black_footed_Albatross", "030.Fish_Crow")  # of CUB; a waterbird, then a landbird
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
RED, GREEN = 0.8, 0.7
Box = tuple[int, int, int, int]  # left, top, right, bottom; the last two outside


def box_of(i: int, width: int, height: int) -> Box:
    """Another place in each image."""
    left, top = 3 + 5 * i % (width // 2), 4 + 3 * i % (height // 2)
    return left, top, left + width // 3, top + height // 4


def draw(path: Path, width: int, height: int, box: Box) -> None:
    """A red object on green, with next to no losses of compression."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (width, height), (0, round(255 * GREEN), 0))
    image.paste((round(255 * RED), 0, 0), box)
    image.save(path, quality=100, subsampling=0)


def waterbirds(folder: Path, count: int = 12) -> tuple[Path, Path]:
    """Root and masks: of each split a third, each label on each place."""
    root, masks = folder / "waterbird_complete95_forest2water2", folder / "CUB" / "segmentations"
    rows = ["img_id,img_filename,y,split,place,place_filename"]
    for i in range(count):
        y, split, place = i % 2, i * 3 // count, i // 2 % 2
        name = f"{CLASSES[1 - y]}/{CLASSES[1 - y][4:]}_{i:04d}_{1000 + i}"
        width, height = [(64, 48), (50, 61)][i % 2]
        box = box_of(i, width, height)
        draw(root / f"{name}.jpg", width, height, box)
        mask = Image.new("L", (width, height), 51)  # one annotator of five takes everything for the bird
        mask.paste(204, box)
        (masks / name).parent.mkdir(parents=True, exist_ok=True)
        mask.save(masks / f"{name}.png")
        rows.append(
            f"{i + 1},{name}.jpg,{y},{split},{place},/{'fo'[place]}/{['forest/broadleaf', 'ocean'][place]}/0000{i:04d}.jpg"
        )
    (root / "metadata.csv").write_text("\n".join(rows) + "\n")
    return root, masks


BREEDS = {
    1: ("Abyssinian", 1, 1),
    2: ("american_bulldog", 2, 1),
    3: ("Bengal", 1, 2),
    4: ("basset_hound", 2, 2),
}  # name, species, breed


def pets(folder: Path, count: int = 16) -> Path:
    """Root: every other image of each breed is one of "test"."""
    annotations = folder / "oxford-iiit-pet" / "annotations"
    (annotations / "trimaps").mkdir(parents=True)
    lines: dict[str, list[str]] = {"trainval": [], "test": []}
    for i in range(count):
        breed = i // (count // 4) + 1
        name = f"{BREEDS[breed][0]}_{i + 1}"
        width, height = [(60, 40), (36, 52)][i % 2]
        left, top, right, bottom = box_of(i, width, height)
        draw(folder / "oxford-iiit-pet" / "images" / f"{name}.jpg", width, height, (left, top, right, bottom))
        trimap = Image.new("L", (width, height), 2)
        ImageDraw.Draw(trimap).rectangle((left, top, right - 1, bottom - 1), fill=1, outline=3)
        trimap.save(annotations / "trimaps" / f"{name}.png")
        lines[["trainval", "test"][i % 2]].append(f"{name} {breed} {BREEDS[breed][1]} {BREEDS[breed][2]}")
    for split, found in lines.items():
        (annotations / f"{split}.txt").write_text("\n".join(found) + "\n")
    head = "#Image CLASS-ID SPECIES BREED ID\n#ID: 1:37 Class ids\n#SPECIES: 1:Cat 2:Dog\n"
    (annotations / "list.txt").write_text(head + "\n".join(lines["trainval"] + lines["test"]) + "\n")
    return folder


def assert_covers(mask: Tensor, image: Tensor) -> None:
    """Whether the mask is where a normalized image shows the object; pixels that it fills by half may go either way."""
    red, green, blue = image * STD[:, None, None] + MEAN[:, None, None]
    torch.testing.assert_close(blue, torch.zeros_like(blue), rtol=0, atol=0.03)
    share = red / RED / (red / RED + green / GREEN)
    assert (mask == (share > 0.5))[(share - 0.5).abs() > 0.05].all()
    assert ((share - 0.5).abs() > 0.05).float().mean() > 0.95
    assert mask.any()
    assert not mask.all()


def test_waterbirds_splits_labels_places(tmp_path: Path) -> None:
    root, masks = waterbirds(tmp_path)
    for split, first in (("train", 0), ("val", 4), ("test", 8)):
        data = Waterbirds(root, split, masks, size=32)
        assert [path.stem[-4:] for path in data.images] == [str(1000 + i) for i in range(first, first + 4)]
        assert data.labels.tolist() == [0, 1, 0, 1]
        assert data.places.tolist() == [0, 0, 1, 1]
        assert data.classes == ("landbird", "waterbird")
        for i in range(4):
            image, label, mask = data[i]
            assert (image.dtype, image.shape) == (torch.float32, (3, 32, 32))
            assert (mask.dtype, mask.shape) == (torch.bool, (32, 32))
            assert type(image) is type(mask) is Tensor
            assert type(label) is int
            assert label == i % 2


def test_waterbirds_without_masks(tmp_path: Path) -> None:
    root, masks = waterbirds(tmp_path)
    (image, label), (same, same_label, _) = (
        Waterbirds(root, "val", size=32)[1],
        Waterbirds(root, "val", masks, size=32)[1],
    )
    assert label == same_label == 1
    torch.testing.assert_close(image, same, rtol=0, atol=0)


@pytest.mark.parametrize("target", ["species", "breed"])
@pytest.mark.parametrize("split", ["trainval", "test"])
def test_pets_as_torchvision_reads_them(tmp_path: Path, split: str, target: str) -> None:
    data = Pets(pets(tmp_path), split, target, size=32)
    kind = {"species": "binary-category", "breed": "category"}[target]
    theirs = OxfordIIITPet(tmp_path, split, [kind, "segmentation"])
    assert len(data) == len(theirs) == 8
    assert data.classes == tuple(theirs.bin_classes if target == "species" else theirs.classes)
    for (image, label, mask), (picture, (their_label, trimap)) in zip(
        (data[i] for i in range(8)), theirs, strict=True
    ):
        assert label == their_label
        assert (image.dtype, image.shape, mask.dtype, mask.shape) == (
            torch.float32,
            (3, 32, 32),
            torch.bool,
            (32, 32),
        )
        share = (np.asarray(trimap) != 2).mean()
        assert picture.size == trimap.size
        assert mask.float().mean() == pytest.approx(share, abs=0.02)
    assert data.labels.tolist() == [data[i][1] for i in range(8)]


@pytest.mark.parametrize("size", [17, 32, 64, 96])
def test_a_mask_covers_its_object(tmp_path: Path, size: int) -> None:
    root, masks = waterbirds(tmp_path)
    for data in (Waterbirds(root, "train", masks, size), Pets(pets(tmp_path), "test", size=size)):
        for i in range(len(data)):
            image, _, mask = data[i]
            assert_covers(mask, image)


def test_masks_of_another_scale_fit_and_of_other_proportions_raise(tmp_path: Path) -> None:
    root, masks = waterbirds(tmp_path)
    data = Waterbirds(root, "train", masks, size=32)
    path = data.masks[0]
    Image.open(path).resize((128, 96), Image.Resampling.NEAREST).save(path)
    image, _, mask = data[0]
    assert_covers(mask, image)
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
    with pytest.raises(
        ValueError,
        match=r"masks: .*\.png has 96 x 128 pixels and its image 64 x 48; give both in the same prop",
    ):
        data[0]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (
            "waterbirds/metadata.csv",
            r"root: no '.*metadata\.csv'; give the folder 'waterbird_complete95_forest2water2' of Waterbirds",
        ),
        (
            f"waterbirds/{CLASSES[1]}",
            r"root: no '.*_0000_1000\.jpg'; give the folder 'waterbird_complete95_forest2water2'",
        ),
        (
            "masks",
            r"masks: no '.*segmentations'; give the folder 'segmentations' of CUB-200-2011, see https://",
        ),
        (
            f"masks/{CLASSES[0]}",
            r"masks: no '.*_0001_1001\.png'; give the folder 'segmentations' of CUB-200-2011",
        ),
        (
            "pets",
            r"root: no '.*trainval\.txt'; give the folder in which 'oxford-iiit-pet' has 'images' and 'annotations'",
        ),
        ("pets/images", r"root: no '.*Abyssinian_1\.jpg'; give the folder in which 'oxford-iiit-pet'"),
        (
            "pets/annotations/trimaps",
            r"root: no '.*Abyssinian_1\.png'; give the folder in which 'oxford-iiit-pet'",
        ),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, missing: str, message: str) -> None:
    root, masks = waterbirds(tmp_path)
    pets(tmp_path)
    name, _, below = missing.partition("/")
    path = {"waterbirds": root, "masks": masks, "pets": tmp_path / "oxford-iiit-pet"}[name] / below
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=message):
        Pets(tmp_path, "trainval") if name == "pets" else Waterbirds(root, "train", masks)


def test_unknown_words_raise(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split: got 'valid'; give one of 'train', 'val', 'test'"):
        Waterbirds(tmp_path, "valid")
    with pytest.raises(ValueError, match="split: got 'train'; give one of 'trainval', 'test'"):
        Pets(tmp_path, "train")
    with pytest.raises(ValueError, match="target: got 'colour'; give one of 'species', 'breed'"):
        Pets(tmp_path, "test", "colour")


def test_group_accuracy_is_that_of_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, labels, places = torch.randint(0, 3, (3, 60), generator=generator)
    places = torch.where(labels == 1, 2, places)  # some groups have no image
    expected = {}
    for label in range(3):
        for place in range(3):
            hits = [
                int(p == y)
                for p, y, s in zip(predicted.tolist(), labels.tolist(), places.tolist(), strict=True)
                if (y, s) == (label, place)
            ]
            if hits:
                expected[label, place] = sum(hits) / len(hits)
    assert len(expected) == 7
    assert group_accuracy(predicted, labels, places) == pytest.approx(expected)


SMALL = ["--epochs", "1", "--weights", "none", "--model", "resnet18", "--size", "64", "--workers", "0"]


def test_waterbirds_command(tmp_path: Path) -> None:
    root, masks = waterbirds(tmp_path)
    command = [
        sys.executable,
        "-m",
        SCRIPT,
        "waterbirds",
        str(root),
        "--masks",
        str(masks),
        *SMALL,
        "--logs",
        str(tmp_path),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert "switched itself off" not in done.stderr
    lines = done.stdout[done.stdout.index("accuracy ") :].splitlines()
    assert "on 4 test images" in lines[0]
    names = ["landbird, land", "landbird, water", "waterbird, land", "waterbird, water"]
    assert [line.split(maxsplit=1)[1] for line in lines[1:5]] == names
    worst = min(float(line.split()[0]) for line in lines[1:5])
    assert f"{worst:.3f} in the worst group" in lines[0]
    inside = [Waterbirds(root, "val", masks, 64)[i][2].double().mean().item() for i in range(4)]
    assert lines[5] == f"the object covers {sum(inside) / 4:.3f} of the probe's 4 images"
    assert "mass_inside" in lines[6]
    assert lines[7].startswith("findings: ")
    assert list(tmp_path.rglob("events.out.tfevents.*"))


def test_pets_command_from_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = pets(tmp_path)
    path = tmp_path / "weights.pth"
    torch.save(resnet18().state_dict(), path)
    options = ["--target", "breed", *SMALL, "--weights", str(path), "--limit", "6", "--logs", str(tmp_path)]
    monitor = natural.main(["pets", str(root), *options])
    assert "on 6 test images" in capsys.readouterr().out
    assert monitor.probe is not None
    assert monitor.probe.class_names == ("Abyssinian", "American Bulldog", "Bengal", "Basset Hound")
    assert monitor.probe.masks is not None
    assert len(monitor.probe) == len(monitor.probe.masks) == 6
    data = Pets(root, "test", "breed", 64)
    items = [data[i] for i in range(len(data))]
    for image, label, mask in zip(
        monitor.probe.images, monitor.probe.labels, monitor.probe.masks, strict=True
    ):
        (match,) = [item for item in items if torch.equal(item[0], image)]
        assert match[1] == label
        assert torch.equal(match[2], mask)
