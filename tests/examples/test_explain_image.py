"""examples/explain_image.py as users run it: three classic networks in a process of their own, the rest in this one."""

import os
import runpy
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from support.files import picture_at
from torch import Tensor, nn

for package in ("skimage", "sklearn"):
    pytest.importorskip(package, reason=f"needs {package}: pip install -e '.[test]'")

from skimage import data
from sklearn.datasets import load_sample_images

SCRIPT = Path(__file__).parents[2] / "examples" / "explain_image.py"
SMALL = "squeezenet1_1"  # its weights take 3 MB with few classes
NAMES = [
    "pagoda",
    "dahlia",
    "tabby",
    "tiger cat",
    "Persian cat",
    "black-and-gold garden spider, Argiope aurantia",
    "crane",
    "Crane",
]

Run = Callable[..., tuple[int, str, str]]


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
    """Runs the script in the folder: its exit status, what it prints, and what it says where it refuses."""
    monkeypatch.chdir(folder)

    def run(*options: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options])
        status, refusal = 0, ""
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as error:  # a message means 1, as the interpreter has it
            status, refusal = (error.code, "") if isinstance(error.code, int) else (1, str(error.code))
        printed = capsys.readouterr()
        return status, printed.out, refusal + printed.err

    return run


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
        [sys.executable, str(SCRIPT), str(folder / "cat.jpg"), *options, "--foreground", "0.5"],
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
    cropped = runpy.run_path(str(SCRIPT))["cropped"]
    transform = torchvision.models.get_model_weights("convnext_tiny").DEFAULT.transforms()
    assert cropped((300, 300), transform).endswith("the middle 95 % of the width and 95 % of the height")
    whole = torchvision.models.get_model_weights("regnet_y_16gf").IMAGENET1K_SWAG_E2E_V1.transforms()
    assert whole.resize_size == whole.crop_size
    assert cropped((300, 300), whole) == ""
    assert cropped((300, 600), whole).endswith("the middle 100 % of the width and 50 % of the height")


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        ("tabby", 2),
        ("TABBY", 2),
        ("tabby cat", 2),
        ("tiger_cat", 3),
        ("persian", 4),
        ("garden spider", 5),
        ("1", 1),
        ("7", 7),
    ],
)
def test_classes_by_name_and_number(wanted: str, number: int, run: Run) -> None:
    status, printed, refusal = run("flower.png", *NAMED, "--class", wanted)
    assert status == 0, refusal
    assert f"explained: {number} {NAMES[number]}, " in printed


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


def test_options_change_the_picture(run: Run, folder: Path) -> None:
    changes = [
        (),
        ("--opacity", "0.9"),
        ("--colormap", "viridis"),
        ("--foreground", "0.3"),
        ("--method", "layercam"),
        ("--layer", "features.7"),
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


@pytest.mark.parametrize("kind", ["grey", "16 bits", "transparent", "palette", "turned", "cmyk"])
def test_images_of_any_kind(kind: str, run: Run, folder: Path) -> None:
    photo = Image.open(folder / "china.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    image, ending, options = {
        "grey": (photo.convert("L"), "png", {}),
        "16 bits": (Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257), "png", {}),
        "transparent": (Image.merge("RGBA", (*photo.split(), Image.new("L", photo.size, 255))), "png", {}),
        "palette": (photo.quantize(256), "png", {}),
        "turned": (photo.transpose(Image.Transpose.ROTATE_90), "png", {"exif": turned}),
        "cmyk": (photo.convert("CMYK"), "tif", {}),
    }[kind]
    image.save(folder / f"kind.{ending}", **options)
    status, printed, refusal = run(f"kind.{ending}", *OWN, "--top", "8")
    assert status == 0, refusal
    photo.convert("L" if kind in ("grey", "16 bits") else "RGB").save(folder / "same.png")
    shares = own_answer(folder, "same.png")
    atol = {"palette": 5.0, "cmyk": 0.5}.get(kind, 0.006)
    assert all(
        share == pytest.approx(100 * shares[number].item(), abs=atol)
        for share, number, _ in likeliest(printed)
    )


@pytest.mark.parametrize("nested", ["bare", "state_dict", "model", "prefix", "module"])
def test_checkpoints_of_any_kind(nested: str, run: Run, folder: Path) -> None:
    state = seeded(SMALL, num_classes=8).state_dict()
    saved: dict = {
        "bare": state,
        "state_dict": {"epoch": 3, "state_dict": state},
        "model": {"model": state, "epoch": 3, "args": {"lr": 0.1}},
        "prefix": {
            "state_dict": {f"net.{key}": value for key, value in state.items()}
            | {"loss.weight": torch.ones(8)},
            "hyper_parameters": {"lr": 0.1},
        },
        "module": {"state_dict": {f"model.module.{key}": value for key, value in state.items()}},
    }[nested]
    torch.save(saved, folder / "kind.ckpt")
    status, printed, refusal = run("cat.jpg", "--model", SMALL, "--checkpoint", "kind.ckpt", "--top", "8")
    assert status == 0, refusal
    shares = own_answer(folder, "cat.jpg")
    assert all(
        share == pytest.approx(100 * shares[number].item(), abs=0.006)
        for share, number, _ in likeliest(printed)
    )


@pytest.mark.parametrize("name", ["vit_b_32", "convnext_tiny", "googlenet", "regnet_y_400mf"])
def test_other_networks(name: str, run: Run, folder: Path) -> None:
    state = seeded(name, num_classes=3).state_dict()
    torch.save(
        {key: value for key, value in state.items() if not key.startswith("aux")}, folder / "other.pth"
    )
    status, printed, refusal = run("cat.jpg", "--model", name, "--checkpoint", "other.pth")
    (folder / "other.pth").unlink()
    assert status == 0, refusal
    assert len(likeliest(printed)) == 3


class Unsafe:
    pass


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("none.jpg", *OWN), 1, "image: there is no file none.jpg."),
        (("names.txt", *OWN), 1, "image: names.txt cannot be read as an image"),
        (
            ("cat.jpg", "--model", "resnet5"),
            1,
            "--model: torchvision has no classifier 'resnet5'; the closest are resnet50,",
        ),
        (
            ("cat.jpg", "--model", "alexnet", "--checkpoint", "small.pth"),
            1,
            "--checkpoint: small.pth does not hold alexnet: no",
        ),
        (
            ("cat.jpg", "--model", "squeezenet1_0", "--checkpoint", "small.pth"),
            1,
            "small.pth does not fit squeezenet1_0: ",
        ),
        (
            ("cat.jpg", "--model", SMALL, "--checkpoint", "none.pth"),
            1,
            "--checkpoint: there is no file none.pth.",
        ),
        (
            ("cat.jpg", "--model", SMALL, "--checkpoint", "names.txt"),
            1,
            "--checkpoint: names.txt is no file of weights, or holds",
        ),
        (
            ("cat.jpg", "--model", SMALL, "--checkpoint", "unsafe.pth"),
            1,
            "which may run code when loaded; save model.state_dict().",
        ),
        (("cat.jpg", "--model", SMALL, "--checkpoint", "cut.pth"), 1, "--checkpoint: cut.pth cannot be read"),
        (
            ("cat.jpg", "--model", SMALL, "--checkpoint", "list.pth"),
            1,
            "list.pth holds a list without tensors",
        ),
        (
            ("cat.jpg", *OWN, "--class-names", "two.txt"),
            1,
            "--class-names: two.txt has 2 lines for the model's 8 classes",
        ),
        (("cat.jpg", *OWN, "--class-names", "none.txt"), 1, "--class-names: none.txt cannot be read"),
        (
            ("cat.jpg", *NAMED, "--class", "dalia"),
            1,
            "--class: no class 'dalia'; the closest are 1 'dahlia'.",
        ),
        (
            ("cat.jpg", *NAMED, "--class", "cat"),
            1,
            "--class: 'cat' may be 3 'tiger cat', 4 'Persian cat'; say which, by number.",
        ),
        (
            ("cat.jpg", *NAMED, "--class", "crane"),
            1,
            "--class: 'crane' may be 6 'crane', 7 'Crane'; say which, by number.",
        ),
        (
            ("cat.jpg", *NAMED, "--class", "zzzz"),
            1,
            "--class: no class 'zzzz'; none is close: give a number.",
        ),
        (("cat.jpg", *NAMED, "--class", "8"), 1, "--class: 8 is outside the model's 8 classes; use 0 to 7."),
        (
            ("cat.jpg", *NAMED, "--class", "-1"),
            1,
            "--class: -1 is outside the model's 8 classes; use 0 to 7.",
        ),
        (
            ("cat.jpg", *OWN, "--layer", "featurs"),
            1,
            "target_layer: no layer 'featurs' in SqueezeNet; did you mean 'features'?",
        ),
        (("cat.jpg", *OWN, "--method", "gradcan"), 1, "method: no method 'gradcan'; did you mean 'gradcam'?"),
        (
            ("cat.jpg", *OWN, "--colormap", "infermo"),
            1,
            "colormap: no colormap 'infermo'; did you mean 'inferno'?",
        ),
        (
            ("cat.jpg", *OWN, "--output", "a.xyz"),
            1,
            "--output: a.xyz cannot be written (Format 'xyz' is not supported",
        ),
        (("cat.jpg", *OWN, "--output", "none/a.png"), 1, "--output: none/a.png cannot be written"),
        (("cat.jpg", *OWN, "--device", "abacus"), 1, "--device: 'abacus' cannot be used"),
        (("cat.jpg", *OWN, "--opacity", "2"), 2, "argument --opacity: got 2; give a value in [0, 1]"),
        (
            ("cat.jpg", *OWN, "--foreground", "0"),
            2,
            "argument --foreground: got 0; give a share of the map's maximum, in (0, 1]",
        ),
        (("cat.jpg", *OWN, "--top", "0"), 2, "argument --top: got 0; give at least 1"),
        ((), 2, "the following arguments are required: IMAGE"),
    ],
)
def test_what_is_refused(options: tuple[str, ...], status: int, message: str, run: Run, folder: Path) -> None:
    (folder / "two.txt").write_text("one\ntwo\n")
    torch.save(Unsafe(), folder / "unsafe.pth")
    torch.save([1, 2], folder / "list.pth")
    whole = (folder / "small.pth").read_bytes()
    (folder / "cut.pth").write_bytes(whole[: len(whole) // 2])
    found, _, refusal = run(*options)
    assert found == status
    assert message in refusal
    assert "Traceback" not in refusal


def test_without_a_network_it_says_how_to_pass_the_weights(folder: Path, tmp_path: Path) -> None:
    nowhere = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https")}
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(SCRIPT), str(folder / "cat.jpg"), "--model", "alexnet"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
        env={**environment, **nowhere, "TORCH_HOME": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "--model: the weights of alexnet could not be downloaded from https://" in done.stderr
    assert "pass it with --checkpoint FILE" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("unreachable"), TimeoutError("timed out"), RuntimeError("invalid hash value")],
)
def test_downloads_fail_in_several_ways(error: Exception, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", fails)
    monkeypatch.setenv("TORCH_HOME", "empty")
    status, _, refusal = run("cat.jpg", "--model", "shufflenet_v2_x0_5")
    assert status == 1
    assert f"({error})" in refusal
    assert "pass it with --checkpoint FILE" in refusal


def test_help_names_every_option(run: Run) -> None:
    status, printed, _ = run("--help")
    assert status == 0
    for option in (
        "IMAGE",
        "--model",
        "--class",
        "--method",
        "--layer",
        "--opacity",
        "--colormap",
        "--foreground",
        "--output",
    ):
        assert option in printed
    for option in ("--top", "--checkpoint", "--class-names", "--device"):
        assert option in printed
