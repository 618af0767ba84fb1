"""``lightning-cam explain`` as users run it: three classic networks in a process of their own, the rest in this one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from support.command import NAMES, Run, running
from support.files import picture_at
from torch import Tensor, nn

from lightning_cam import explain
from lightning_cam.command.explain import cropped
from lightning_cam.command.models import named_model

for package in ("skimage", "sklearn"):
    pytest.importorskip(package, reason=f"needs {package}: pip install -e '.[test]'")

from skimage import data
from sklearn.datasets import load_sample_images

COMMAND = [sys.executable, "-m", "lightning_cam", "explain"]
SMALL = "squeezenet1_1"  # its weights take 3 MB with few classes


def seeded(name: str, **options: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torchvision.models.get_model(name, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, weights and names."""
    folder = tmp_path_factory.mktemp("images")
    china, flower = load_sample_images().images
    for name, pixels in {"china.jpg": china, "flower.png": flower, "cat.jpg": data.chelsea()}.items():
        Image.fromarray(pixels).save(folder / name)
    torch.save(seeded(SMALL, num_classes=8).state_dict(), folder / "small.pth")
    (folder / "names.txt").write_text("\n".join(NAMES) + "\n")
    return folder


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return running("explain", folder, monkeypatch, capsys)


OWN = ("--model", SMALL, "--checkpoint", "small.pth")
NAMED = (*OWN, "--class-names", "names.txt")


def own_answer(folder: Path, image: str) -> Tensor:
    """Probabilities by the plain way."""
    model = seeded(SMALL, num_classes=8).eval()
    transform = torchvision.models.get_model_weights(SMALL).DEFAULT.transforms()
    with torch.no_grad():
        return model(transform(Image.open(folder / image).convert("RGB"))[None])[0].softmax(dim=0)


def likeliest(printed: str) -> list[tuple[float, int, str]]:
    """The table of classes: percentage, number, name."""
    rows = [line.split(maxsplit=3) for line in printed.splitlines() if line[:8].strip().endswith("%")]
    return [(float(share), int(number), name) for share, _, number, name in rows]


@pytest.mark.parametrize(
    ("name", "layer", "classes"),
    [("alexnet", "features.11", 1000), ("vgg16", "features.29", 1000), ("resnet50", "layer4", 1000)],
)
def test_the_classic_networks_from_a_checkpoint(
    name: str, layer: str, classes: int, folder: Path, tmp_path: Path
) -> None:
    torch.save(seeded(name, num_classes=classes).state_dict(), tmp_path / "weights.pth")
    options = [
        "--model",
        name,
        "--checkpoint",
        str(tmp_path / "weights.pth"),
        "--class",
        "tabby cat",
        "--class",
        "LYNX",
    ]
    done = subprocess.run(  # noqa: S603
        [*COMMAND, str(folder / "cat.jpg"), *options, "--foreground", "0.5"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    (tmp_path / "weights.pth").unlink()  # up to half a gigabyte
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"gradcam at {layer}" in done.stdout
    rows = likeliest(done.stdout)
    categories = torchvision.models.get_model_weights(name).DEFAULT.meta["categories"]
    assert len(rows) == 5
    assert [share for share, _, _ in rows] == sorted((share for share, _, _ in rows), reverse=True)
    assert all(categories[number] == title for _, number, title in rows)
    assert "explained: 281 tabby, " in done.stdout
    assert "explained: 287 lynx, " in done.stdout
    with Image.open(tmp_path / "cat-cam.png") as picture:
        assert picture.width > 2 * picture.height  # three pictures beside each other


def test_the_predicted_class_by_default(run: Run, folder: Path) -> None:
    status, printed, _ = run("china.jpg", *OWN, "--output", "out.png", "--top", "3")
    assert status == 0
    shares = own_answer(folder, "china.jpg")
    order = shares.argsort(descending=True).tolist()
    assert [number for _, number, _ in likeliest(printed)] == order[:3]
    for share, number, name in likeliest(printed):
        assert share == pytest.approx(100 * shares[number].item(), abs=0.006)
        assert name == f"class {number}"
    assert f"explained: {order[0]} class {order[0]}, " in printed
    assert "note: cropped: the network saw the middle 58 % of the width and 88 % of the height" in printed
    assert picture_at(folder / "out.png").format == "PNG"


def test_what_the_network_saw_is_told_by_its_own_transform(run: Run, folder: Path) -> None:
    """ConvNeXt's resizes to 236, AlexNet's to 256: both crop to 224."""
    Image.open(folder / "cat.jpg").crop((0, 0, 300, 300)).save(folder / "square.png")
    _, printed, _ = run("square.png", *OWN)
    assert "note: cropped: the network saw the middle 88 % of the width and 88 % of the height" in printed
    torch.save(seeded("convnext_tiny", num_classes=2).state_dict(), folder / "convnext.pth")
    frame = named_model("convnext_tiny", folder / "convnext.pth").frame
    (folder / "convnext.pth").unlink()
    assert cropped((300, 300), frame).endswith("the middle 95 % of the width and 95 % of the height")
    assert cropped((300, 300), (384, 384)) == ""
    assert cropped((300, 600), (384, 384)).endswith("the middle 100 % of the width and 50 % of the height")
    assert cropped((300, 600), None) == ""


def test_several_classes_are_explained_once_each(run: Run, folder: Path) -> None:
    _, printed, _ = run(
        "flower.png",
        *NAMED,
        "--class",
        "1",
        "--class",
        "dahlia",
        "--class",
        "tabby",
        "--output",
        "several.png",
    )
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("explained")] == ["1", "2"]
    _, printed, _ = run(
        "flower.png", *NAMED, "--class", "1", "--class", "2", "--method", "eigencam", "--output", "eigen.png"
    )
    assert "note: --method: eigencam does not ask for a class, so its maps are alike" in printed
    run("flower.png", *NAMED, "--class", "1", "--output", "one.png")
    widths = [picture_at(folder / name).width for name in ("one.png", "several.png")]
    assert widths[1] > 1.3 * widths[0]


def test_two_classes_have_a_difference_and_a_method_without_classes_has_none(run: Run, folder: Path) -> None:
    two = ("--class", "1", "--class", "2")
    for name, options in {
        "two.png": two,
        "none.png": (*two, "--method", "eigencam"),
        "one.png": two[:2],
    }.items():
        status, _, refusal = run("flower.png", *NAMED, *options, "--output", name)
        assert status == 0, refusal
    one, none, two_and_apart = (
        picture_at(folder / name).width for name in ("one.png", "none.png", "two.png")
    )
    assert two_and_apart - none == pytest.approx(none - one, abs=4), "a column more"


def test_arrays_of_several_classes_are_rows_of_one_file(run: Run, folder: Path) -> None:
    options = ("--class", "tabby", "--class", "1", "--npz", "maps.npz")
    status, printed, refusal = run("flower.png", *NAMED, *options)
    assert status == 0, refusal
    assert "written: maps.npz" in printed
    image = torchvision.models.get_model_weights(SMALL).DEFAULT.transforms()(
        Image.open(folder / "flower.png").convert("RGB")
    )
    model = seeded(SMALL, num_classes=8).eval()
    with np.load(folder / "maps.npz") as found:
        assert found["target_classes"].tolist() == [2, 1]
        assert found["class_names"].tolist() == NAMES
        assert found["saliency"].shape == (2, 224, 224)
        for row, number in enumerate([2, 1]):
            own = explain(model, image, target=number)
            np.testing.assert_allclose(found["cams"][row], own.cams[0], rtol=1e-5)
            np.testing.assert_allclose(found["scores"][row], own.scores[0], rtol=1e-5)


@pytest.mark.needs("timm")
def test_a_network_of_timm(run: Run, folder: Path) -> None:
    import timm

    torch.save(timm.create_model("resnet18", num_classes=4).state_dict(), folder / "timm.pth")
    status, printed, refusal = run("cat.jpg", "--model", "timm:resnet18", "--checkpoint", "timm.pth")
    (folder / "timm.pth").unlink()
    assert status == 0, refusal
    assert "timm:resnet18, weights timm.pth, gradcam at layer4" in printed
    assert len(likeliest(printed)) == 4


def test_options_change_the_picture(run: Run, folder: Path) -> None:
    changes = [
        (),
        ("--opacity", "0.9"),
        ("--colormap", "viridis"),
        ("--foreground", "0.3"),
        ("--method", "layercam"),
        ("--target-layer", "features.7"),
    ]
    seen = []
    for change in changes:
        status, _, refusal = run("flower.png", *NAMED, "--class", "tabby", "--output", "changed.png", *change)
        assert status == 0, refusal
        seen.append(np.asarray(Image.open(folder / "changed.png").convert("RGB")))
    for picture in seen[1:]:
        assert picture.shape != seen[0].shape or (picture != seen[0]).any()
    status, printed, _ = run(
        "flower.png", *NAMED, "--class", "tabby", "--foreground", "0.3", "--output", "changed.pdf"
    )
    assert status == 0
    assert "of the 224 x 224 pixels, the largest part within x1 y1 x2 y2 [" in printed
    status, printed, _ = run("flower.png", *NAMED, "--class", "dahlia", "--foreground", "0.3")
    assert status == 0
    assert "; blank: no evidence for the class" in printed, "random weights have such classes"
    assert (folder / "changed.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("none.jpg", *OWN), "image: there is no file none.jpg."),
        (("names.txt", *OWN), "image: names.txt cannot be read as an image"),
        (("cat.jpg", "--model", "resnet5"), "no classifier 'resnet5'; did you mean resnet50,"),
        (("cat.jpg", "--model", "alexnet", "--checkpoint", "small.pth"), "does not hold alexnet: no"),
        (
            ("cat.jpg", "--model", SMALL, "--checkpoint", "none.pth"),
            "--checkpoint: there is no file none.pth.",
        ),
        (("cat.jpg", *OWN, "--class-names", "two.txt"), "two.txt has 2 lines for the model's 8 classes"),
        (("cat.jpg", *OWN, "--class-names", "none.txt"), "--class-names: none.txt cannot be read"),
        (("cat.jpg", *NAMED, "--class", "dalia"), "--class: no class 'dalia'; did you mean 1 'dahlia'?"),
        (("cat.jpg", *NAMED, "--class", "8"), "--class: 8 is outside the model's 8 classes; use 0 to 7."),
        (
            ("cat.jpg", *OWN, "--target-layer", "featurs"),
            "target_layer: no layer 'featurs' in SqueezeNet; did you",
        ),
        (("cat.jpg", *OWN, "--method", "gradcan"), "method: no method 'gradcan'; did you mean 'gradcam'?"),
        (("cat.jpg", *OWN, "--colormap", "infermo"), "no colormap 'infermo'; did you mean 'inferno'?"),
        (
            ("cat.jpg", *OWN, "-o", "a.xyz"),
            "--output: a.xyz cannot be written (Format 'xyz' is not supported",
        ),
        (("cat.jpg", *OWN, "--output", "none/a.png"), "--output: none/a.png cannot be written"),
        (
            ("cat.jpg", *OWN, "--npz", "maps.np"),
            "--npz: maps.np cannot be written (path: got 'maps.np'; give a",
        ),
        (("cat.jpg", *OWN, "--npz", "none/maps.npz"), "--npz: none/maps.npz cannot be written"),
        (("cat.jpg", *OWN, "--device", "abacus"), "--device: 'abacus' cannot be used"),
        (("cat.jpg", *OWN, "--opacity", "2"), "opacity: got 2.0; give "),
        (("cat.jpg", *OWN, "--foreground", "0"), "got 0; give a share of the map's maximum, in (0, 1]"),
        (("cat.jpg", *OWN, "--top", "0"), "argument --top: got 0; give at least 1"),
        ((), "the following arguments are required: IMAGE"),
    ],
)
def test_what_is_refused(options: tuple[str, ...], message: str, run: Run, folder: Path) -> None:
    (folder / "two.txt").write_text("one\ntwo\n")
    status, _, refusal = run(*options)
    assert status == 2
    assert message in refusal
    assert "Traceback" not in refusal


def test_without_a_network_it_says_how_to_pass_the_weights(folder: Path, tmp_path: Path) -> None:
    nowhere = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https")}
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(  # noqa: S603
        [*COMMAND, str(folder / "cat.jpg"), "--model", "alexnet"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
        env={**environment, **nowhere, "TORCH_HOME": str(tmp_path)},
    )
    assert done.returncode == 2
    assert "--model: the weights of alexnet could not be downloaded from https://" in done.stderr
    assert "pass the file with --checkpoint FILE" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.png"))


def test_help_names_every_option(run: Run) -> None:
    status, printed, _ = run("--help")
    assert status == 0
    for option in (
        "IMAGE",
        "--model",
        "--class",
        "--method",
        "--target-layer",
        "--opacity",
        "--colormap",
        "--foreground",
        "--output",
    ):
        assert option in printed
    for option in ("--top", "--checkpoint", "--class-names", "--device"):
        assert option in printed
