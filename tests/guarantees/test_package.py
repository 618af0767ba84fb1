"""The package as others get it: built, checked, installed elsewhere, used, and its tests run from the source distribution."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import textwrap
import venv
import zipfile
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint
from support.modules import Classifier, loader, trainer

import lightning_cam
from lightning_cam import CAMMonitor

ROOT = Path(__file__).parents[2]
SHIPPED = (".ci", ".github", "benchmarks", "docs", "examples", "research", "tests")
CACHES = shutil.ignore_patterns(
    "__pycache__", ".*_cache", "*.egg-info", "lightning_logs", "checkpoints", "wandb"
)


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, outside the tree and without this process's paths."""
    variables = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")
    }
    ran = subprocess.run(  # noqa: S603
        [str(part) for part in command], cwd=cwd, env=variables, capture_output=True, text=True, timeout=900
    )
    assert ran.returncode == 0, f"{ran.stdout[-6000:]}\n{ran.stderr[-6000:]}"
    return ran.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source distribution and the wheel, built from a copy of the tree."""
    pytest.importorskip("build", reason="builds the package: pip install build")
    copy, folder = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in ("lightning_cam", *SHIPPED):
        shutil.copytree(ROOT / name, copy / name, ignore=CACHES)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, copy)
    run(sys.executable, "-m", "build", "--outdir", folder, copy, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment that has the wheel, and takes all other packages from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    # A path in a .pth file is searched last, and the .pth files in it, such as an editable installation's, are not read.
    packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (Path(own) / "of_the_tests.pth").write_text("\n".join(packages), encoding="utf-8")
    run(python, "-m", "pip", "install", "-q", "--no-deps", next(built.glob("*.whl")), cwd=folder)
    found = run(python, "-c", "import lightning_cam; print(lightning_cam.__file__)", cwd=folder).strip()
    assert Path(found).is_relative_to(own)
    return python


@pytest.mark.full
def test_the_wheel_holds_the_package_alone_with_its_page_and_its_types(built: Path) -> None:
    names = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()
    assert {"lightning_cam/py.typed", "lightning_cam/report/template.html"} <= set(names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"lightning_cam"}


@pytest.mark.full
def test_the_source_distribution_holds_all_that_its_tests_need(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    generated = re.compile(r"__pycache__|lightning_logs|_cache|egg-info|\.py[cod]$")
    paths = (path for folder in SHIPPED for path in (ROOT / folder).rglob("*") if path.is_file())
    wanted = {path.relative_to(ROOT).as_posix() for path in paths}
    assert {name for name in wanted if not generated.search(name)} <= inside
    assert {path.name for path in ROOT.glob("*.md")} | {
        "CITATION.cff",
        "llms.txt",
        ".pre-commit-config.yaml",
    } <= inside


@pytest.mark.full
def test_the_metadata_pass_the_index_s_own_check(built: Path) -> None:
    pytest.importorskip("twine", reason="checks the metadata: pip install twine")
    report = run(
        sys.executable, "-m", "twine", "--no-color", "check", "--strict", *built.iterdir(), cwd=built
    )
    assert report.count("PASSED") == 2


@pytest.mark.full
def test_the_index_gets_whole_addresses(built: Path) -> None:
    wheel = zipfile.ZipFile(next(built.glob("*.whl")))
    metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith("METADATA"))).decode()
    readme = metadata.partition("\n\n")[2]
    assert readme.startswith("# lightning_cam")
    places = re.findall(r'src="([^"]+)"|\]\(([^)]+)\)', readme)
    assert len(places) > 10
    assert all("".join(place).startswith("https://") for place in places)


@pytest.mark.full
def test_the_tests_of_the_source_distribution_run(built: Path, tmp_path: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    tree = next(tmp_path.iterdir())
    # Of each kind one: with a plain twin, with README, with this folder's helpers.
    chosen = [
        next((tree / "tests").rglob(name))
        for name in ("test_statistics.py", "test_readme.py", "test_regions.py")
    ]
    passed = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, cwd=tree)
    assert re.search(r"[1-9]\d* passed", passed)


@pytest.mark.full
def test_readmes_example_runs_on_the_installed_wheel(environment: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the example's digits are scikit-learn's: pip install scikit-learn")
    shutil.copy(ROOT / "examples" / "digits.py", tmp_path)
    printed = run(environment, "digits.py", "--epochs", "2", cwd=tmp_path)
    assert re.search(r"aligned\s+removed\s+shuffled\s+border\s+corners", printed)
    assert list(tmp_path.rglob("cam/report.html"))


@pytest.mark.full
def test_the_commands_run_from_the_installed_wheel(environment: Path, tmp_path: Path) -> None:
    command = environment.with_name("lightning-cam")
    model = torchvision.models.shufflenet_v2_x0_5(num_classes=2)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "own.ckpt")
    for name, tone in (("bright", 220), ("dark", 40)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(8):
            image = (
                Image.linear_gradient("L")
                .resize((64, 64))
                .point(lambda value, tone=tone: (value + tone) // 2)
            )
            image.rotate(45 * number).convert("RGB").save(tmp_path / "photos" / name / f"{number}.png")
    own = ("--model", "shufflenet_v2_x0_5", "--checkpoint", "own.ckpt")
    first = "photos/dark/0.png"
    explained = run(command, "explain", first, *own, "-o", "map.png", "--npz", "map.npz", cwd=tmp_path)
    assert "written: map.png\nwritten: map.npz\n" in explained
    assert (tmp_path / "map.png").stat().st_size > 10_000
    assert "photos: 16 images of 2 classes" in run(command, "shortcuts", "photos", *own, cwd=tmp_path)
    saved = ModelCheckpoint(tmp_path, save_last=True)
    monitor = CAMMonitor(probe=6, shortcuts=None)
    trainer(tmp_path, callbacks=[monitor, saved], enable_checkpointing=True).fit(
        Classifier(), loader(), loader(seed=1)
    )
    told = run(command, "report", saved.last_model_path, "-o", "report.html", cwd=tmp_path)
    assert told == "every look on one page: report.html\n"
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")
    with pytest.raises(AssertionError, match=r"lightning-cam explain: image: there is no file none.jpg\."):
        run(command, "explain", "none.jpg", cwd=tmp_path)


SCRIPT = '''
"""What a user writes, who has Lightning and a type checker."""

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from lightning_cam import CAMMonitor, Evidence, Explanation, Finding, MapContext, Probe, explain, find_shortcuts
from lightning_cam.metrics import deletion


def mine(evidence: Evidence) -> Tensor:
    return evidence.activations.abs().sum(dim=1)


def spread(maps: MapContext) -> Tensor:
    return maps.saliency.std(dim=(1, 2))


def told(finding: Finding) -> None:
    print(finding)


def train(module: LightningModule) -> list[float]:
    monitor = CAMMonitor(method=mine, target_layer="features", normalization="imagenet", every_n_epochs=2)
    Trainer(callbacks=[monitor]).fit(module)
    for finding in monitor.findings:
        told(finding)
    return [float(monitor.history.looks[0].epoch)]


def once(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    explanation: Explanation = explain(model, images, method="layercam", target="predicted")
    by_method: dict[str, Explanation] = explain(model, images, method=["gradcam", "layercam"])
    print(by_method["gradcam"].cams.shape)
    print(find_shortcuts(model, Probe(images, labels)).table())
    return deletion(model, images, explanation.saliency) + explanation.statistic("border_mass")


tensor: Tensor = once(nn.Identity(), torch.rand(2, 3, 8, 8), torch.tensor([0, 1]))
'''


@pytest.mark.full
def test_a_users_script_passes_mypy_strict(environment: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    mypy = (sys.executable, "-m", "mypy", "--strict", "--no-color-output", "--python-executable", environment)
    script.write_text(SCRIPT, encoding="utf-8")
    assert "Success: no issues found" in run(*mypy, script, cwd=tmp_path)
    # The names have types: what is no Explanation is seen.
    script.write_text(
        textwrap.dedent(
            """
            from lightning_cam import explain, write_report

            explain(1, 2, metod="gradcam")
            write_report()
            """
        ),
        encoding="utf-8",
    )
    with pytest.raises(AssertionError, match=r'Unexpected keyword argument "metod" for overloaded') as failed:
        run(*mypy, script, cwd=tmp_path)
    assert 'No overload variant of "explain" matches argument types "int", "int"' in str(failed.value)


def test_the_citation_names_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {lightning_cam.__version__}\n" in citation
    yaml = pytest.importorskip("yaml", reason="reads YAML: pip install pyyaml")
    assert {"cff-version", "message", "title", "authors", "license", "repository-code"} <= set(
        yaml.safe_load(citation)
    )


def test_llms_txt_names_what_is_public_and_links_to_pages_that_exist() -> None:
    text = (ROOT / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# lightning-cam\n\n> ")
    for name in lightning_cam.__all__:
        assert f"`{name}" in text, f"llms.txt: {name} is missing"
    pages = re.findall(r"\]\(https://github.com/lightning-cam/lightning-cam/blob/main/([^)#]+)\)", text)
    assert len(pages) > 5
    for page in pages:
        assert (ROOT / page).exists(), page


def test_the_public_forge_runs_our_own_commands_and_its_forms_can_be_read() -> None:
    yaml = pytest.importorskip("yaml", reason="reads YAML: pip install pyyaml")
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    ran = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {".ci/run", ".ci/full"} <= set(ran)
    forms = [path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
    assert len(forms) == 3
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form), path.name
        for field in form["body"]:
            assert field["type"] in ("textarea", "dropdown", "input", "checkboxes", "markdown"), path.name
            assert field["attributes"]["label"], path.name


def test_the_folders_that_contributing_sends_people_to_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = re.findall(r"^\| [^|]+ \| `(lightning_cam/[^`]*)` \|", text, re.MULTILINE)
    assert len(places) == 8
    for place in places:
        assert (ROOT / place).exists(), place


def test_links_between_our_pages_lead_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"
