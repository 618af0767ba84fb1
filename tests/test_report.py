"""The report page: what it holds, how large it is, how it comes to be at the end of a fit and from a checkpoint."""

import base64
import io
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modules import CLASSES, Classifier, loader, trainer
from PIL import Image
from pytorch_lightning import seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from test_monitor_shortcuts import ReadsTheTag, tagged
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_cam import CAMMonitor, Probe, write_report
from lightning_cam.data.history import History, remember
from lightning_cam.report.__main__ import main, remembered
from lightning_cam.report.evidence_images import MOST_SHEETS, EvidenceImages
from lightning_cam.shortcuts.findings import Finding
from lightning_cam.visualization.projection import flat_saliency

EVIL = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "<!--<script>",
    "]]>&lt;b&gt;",
    "line\u2028and\u2029paragraph",
    "عربي 猫 \U0001f408",
    "' onload='alert(3)",
]


def history(looks: int, count: int, grid: tuple[int, ...], classes: int = 3, signed: bool = False) -> History:
    """Random maps, predictions and statistics; nothing is dropped."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for i in range(looks):
        cams = torch.rand(count, *grid, generator=generator) - (0.6 if signed else 0.0)
        scale = 10.0 ** torch.arange(count).remainder(5).reshape(-1, *[1] * len(grid))
        predicted = torch.randint(classes, (count,), generator=generator)
        values = {
            name: torch.rand(count, generator=generator)
            for name in ("border_mass", "entropy", "drift_last", "of_mine")
        }
        made.append(
            remember(i - 1, 10 * i, cams * scale, predicted, torch.rand(count, generator=generator), values)
        )
    return History(tuple(made))


def probe(count: int, *size: int, channels: int = 3, names: list[str] | None = None) -> Probe:
    images = torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(1))
    return Probe(images, torch.arange(count) % 3, class_names=None if names is None else tuple(names))


def finding(**changes: Any) -> Finding:
    return Finding(**{"cue": "border_8", "tier": "A", "level": "warning", "dominance": 0.9, "donor": 9, "host": 1,
                      "p_value": 1e-4, "classes": ("a",), "looks": 2, "since": 1} | changes)  # fmt: skip


class Page(HTMLParser):
    """What a browser's parser makes of the file: elements, and the text of scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.contents: list[str] = []
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.contents.append("")

    def handle_data(self, content: str) -> None:
        if self.elements and self.elements[-1][0] in ("script", "style"):
            self.contents[-1] += content

    @property
    def data(self) -> dict[str, Any]:
        (found,) = [text for text in self.contents if text.startswith("{")]
        return json.loads(found)


def written(path: Path) -> dict[str, Any]:
    return Page(path).data


# --- what it holds


def by_the_book(page: dict[str, Any], look: int, image: int) -> np.ndarray:
    """The saliency that the page's script shows, pixel by pixel; NaN beside a volume's slices."""
    sizes = [rows * columns for *_, rows, columns in page["panels"]]
    cells = np.frombuffer(base64.b64decode(page["maps"]), np.uint8).reshape(
        len(page["looks"]), -1, sum(sizes)
    )[look, image]
    top, step, zero = (page[name][look][image] for name in ("tops", "steps", "zeros"))
    picture = np.full((page["height"], page["width"]), np.nan)
    for number, (left, above, width, height, rows, columns) in enumerate(page["panels"]):
        grid = cells[sum(sizes[:number]) :][: rows * columns].reshape(rows, columns).astype(float)
        for y in range(height):
            for x in range(width):
                down, across = (
                    max(0, (y + 0.5) * rows / height - 0.5),
                    max(0, (x + 0.5) * columns / width - 0.5),
                )
                i, j = int(down), int(across)
                k, m = min(i + 1, rows - 1), min(j + 1, columns - 1)
                v, u = down - i, across - j
                value = (1 - v) * ((1 - u) * grid[i, j] + u * grid[i, m]) + v * (
                    (1 - u) * grid[k, j] + u * grid[k, m]
                )
                picture[above + y, left + x] = max(0, (value - zero) * step / top) if top else 0
    return picture


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("size", "grid"),
    [((32, 32), (4, 4)), ((30, 50), (5, 7)), ((12, 12), (20, 20)), ((40,), (9,)), ((8, 10, 12), (3, 2, 4))],
    ids=["images", "oblong", "finer than the image", "signals", "volumes"],
)
def test_maps_on_the_page_are_those_of_the_pictures(
    size: tuple[int, ...], grid: tuple[int, ...], signed: bool, tmp_path: Path
) -> None:
    looks, given = history(2, 3, grid, signed=signed), probe(3, *size, channels=2 if len(size) == 1 else 3)
    page = written(write_report(looks, tmp_path / "page.html", probe=given))
    drawn = {1: None, 2: (page["height"], page["width"]), 3: None}[len(size)]
    if drawn is None:
        from lightning_cam.visualization.projection import drawn_size

        drawn = drawn_size(given.images, 112, 256)
    for number, look in enumerate(looks.looks):
        expected = flat_saliency(look.cams, size, drawn)
        assert expected.nan_to_num().amax() > 0.5
        for image in range(3):
            found = by_the_book(page, number, image)
            # A byte per cell: half a level of what lies between the smallest and the largest value that is kept.
            kept = 255 - page["zeros"][number][image]
            np.testing.assert_allclose(
                found, expected[image].numpy(), rtol=0, atol=1.02 / kept, equal_nan=True
            )


def test_what_is_said_of_looks_and_images(tmp_path: Path) -> None:
    looks, given = history(4, 5, (4, 4)), probe(5, 24, 24, names=["cat", "dog", "bird"])
    page = written(
        write_report(
            looks, tmp_path / "deep" / "page.html", probe=given, shown=3, settings={"lr": 0.1, "of": None}
        )
    )
    assert [look["epoch"] for look in page["looks"]] == [-1, 0, 1, 2]
    right = [int((look.predicted == given.labels).sum()) for look in looks.looks]
    assert [look["right"] for look in page["looks"]] == right, "of the whole probe"
    assert page["probe"] == 5
    assert len(page["pictures"]) == 3
    assert page["labels"] == [0, 1, 2]
    assert page["names"] == {"0": "cat", "1": "dog", "2": "bird"}
    for number, look in enumerate(looks.looks):
        assert page["predicted"][number] == look.predicted[:3].tolist()
        np.testing.assert_allclose(page["confidence"][number], look.confidence[:3], rtol=1e-4)
        for statistic in page["statistics"]:
            np.testing.assert_allclose(
                statistic["values"][number], look.statistics[statistic["name"]][:3], rtol=1e-4
            )
            assert statistic["means"][number] == pytest.approx(look.means[statistic["name"]], rel=1e-4)
    assert [statistic["name"] for statistic in page["statistics"]] == [
        "border_mass",
        "entropy",
        "drift_last",
        "of_mine",
    ]
    assert page["settings"] == [["lr", "0.1"], ["of", "none"]]


def test_pictures_are_the_images(tmp_path: Path) -> None:
    given = probe(2, 16, 16)
    page = written(write_report(history(1, 2, (4, 4)), tmp_path / "page.html", probe=given))
    for image, source in zip(given.images, page["pictures"], strict=True):
        picture = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
        factor = picture.width // 16
        assert picture.size == (page["width"], page["height"]) == (112, 112)
        found = np.asarray(picture.convert("RGB"))[::factor, ::factor]
        np.testing.assert_array_equal(found, (255 * image).round().to(torch.uint8).permute(1, 2, 0))


def test_the_normalization_is_undone(tmp_path: Path) -> None:
    given, looks = probe(2, 16, 16), history(1, 2, (4, 4))
    plain = written(write_report(looks, tmp_path / "plain.html", probe=given))
    there = Probe((given.images - 0.5) / 0.25, given.labels)
    undone = written(
        write_report(looks, tmp_path / "undone.html", probe=there, normalization=((0.5,) * 3, (0.25,) * 3))
    )
    assert undone["pictures"] == plain["pictures"]
    assert not any("stretched" in note for note in undone["notes"])
    guessed = written(write_report(looks, tmp_path / "guessed.html", probe=there))
    assert any("normalization is not known" in note for note in guessed["notes"])


def test_maps_that_show_nothing(tmp_path: Path) -> None:
    cams = torch.rand(4, 3, 3) + 0.1
    cams[1], cams[2, 0, 0] = -cams[1], torch.nan
    look = remember(0, 0, cams, torch.zeros(4, dtype=torch.int64), torch.rand(4), {}).of(
        torch.tensor([0, 1, 2, -1])
    )
    page = written(write_report(History((look,)), tmp_path / "page.html"))
    tops = page["tops"][0]
    assert tops[0] > 0
    assert tops[1:] == [0, 0, None]
    assert page["looks"] == [{"epoch": 0, "step": 0, "seen": 3, "right": None}]
    assert page["confidence"][0][3] is None


def test_without_images(tmp_path: Path) -> None:
    page = written(write_report(history(2, 3, (4, 6)), tmp_path / "page.html"))
    assert page["pictures"] == []
    assert page["labels"] is None
    assert page["width"] / page["height"] == pytest.approx(1.5)
    assert any("maps are shown without them" in note for note in page["notes"])


def test_findings_stand_by_their_weight(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    weak, strong, seen = (
        finding(cue="colour", dominance=0.6),
        finding(dominance=0.95),
        finding(cue="mean_image", tier="B", level="notice"),
    )
    page = written(
        write_report(
            history(1, 2, (4, 4)),
            tmp_path / "page.html",
            findings=[seen, weak, strong],
            sheets={strong.key: buffer.getvalue()},
            scalars={"shortcut/colour": 0.6, "shortcut/border_8": 0.95, "entropy": 0.5},
        )
    )
    assert [found["statement"] for found in page["findings"]] == [
        strong.statement,
        weak.statement,
        seen.statement,
    ]
    assert [bool(found["sheet"]) for found in page["findings"]] == [True, False, False]
    assert base64.b64decode(page["findings"][0]["sheet"].partition(",")[2]) == buffer.getvalue()
    assert [(cue["cue"], cue["share"]) for cue in page["cues"]] == [("border_8", 0.95), ("colour", 0.6)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"history": History()}, "history: it has no looks"),
        ({"probe": probe(4, 8, 8)}, "probe: got 4 images for looks at 3"),
        ({"colormap": "infrno"}, "colormap: no colormap 'infrno'; did you mean 'inferno'"),
        ({"normalization": "imgnet"}, "normalization: got 'imgnet'"),
    ],
)
def test_wrong_arguments(arguments: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        write_report(**{"history": history(1, 3, (4, 4)), "path": tmp_path / "page.html"} | arguments)
    assert not list(tmp_path.iterdir())


def test_writing_it_takes_no_random_number_and_changes_nothing(tmp_path: Path) -> None:
    given, looks = probe(3, 16, 16), history(2, 3, (4, 4), signed=True)
    before = torch.get_rng_state(), given.images.clone(), [look.scaled.clone() for look in looks.looks]
    write_report(looks, tmp_path / "page.html", probe=given)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(given.images, before[1])
    assert all(torch.equal(look.scaled, kept) for look, kept in zip(looks.looks, before[2], strict=True))


# --- one file, and nothing in it acts


def test_one_file_that_asks_nothing_of_a_network(tmp_path: Path) -> None:
    page = Page(write_report(history(2, 3, (4, 4)), tmp_path / "page.html", probe=probe(3, 16, 16)))
    assert [tag for tag, _ in page.elements if tag in ("script", "style")] == ["style", "script", "script"]
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("srcset", "style")], tag
        assert str(attributes.get("src") or attributes.get("href") or "data:").startswith("data:"), tag
    assert set(re.findall(r"https?://[^\"' ]*", page.text)) == {
        "http://www.w3.org/2000/svg"
    }  # a name, not an address
    (policy,) = [attributes["content"] for _, attributes in page.elements if attributes.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|XMLHttp|WebSocket", page.text
    )


def test_what_users_name_is_text(tmp_path: Path) -> None:
    settings = {"method": EVIL[0], "target layer": EVIL[1], EVIL[2]: EVIL[3]}
    plain = Page(
        write_report(history(2, 7, (4, 4), len(EVIL)), tmp_path / "plain.html", probe=probe(7, 16, 16))
    )
    path = write_report(
        history(2, 7, (4, 4), len(EVIL)),
        tmp_path / "page.html",
        probe=Probe(probe(7, 16, 16).images, torch.arange(7), class_names=tuple(EVIL)),
        settings=settings,
        findings=[finding(classes=tuple(EVIL), label=0)],
    )
    page = Page(path)
    assert page.elements == plain.elements, "nothing became an element"
    assert list(page.data["names"].values()) == EVIL
    assert page.data["settings"] == [list(pair) for pair in settings.items()]
    text = json.dumps(page.data["findings"][0], ensure_ascii=False)
    assert "<script>alert(1)</script>" in text
    (raw,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', path.read_text(encoding="utf-8")
    )
    assert not set("<>&\u2028\u2029") & set(raw)
    assert raw.isascii()


@pytest.mark.parametrize(("side", "pooled"), [(7, 1), (56, 2)])
def test_size(side: int, pooled: int, tmp_path: Path) -> None:
    # Noise is the worst that there is for JPEG; photographs take a third of it.
    path = write_report(history(51, 16, (side, side)), tmp_path / "page.html", probe=probe(16, 224, 224))
    assert path.stat().st_size < 5_000_000
    page = written(path)
    rows, columns = page["panels"][0][4:]
    assert rows == columns == side // pooled
    assert any(f"averaged over {pooled} x {pooled} cells" in note for note in page["notes"]) == (pooled > 1)


def test_size_of_photographs_with_fine_maps(tmp_path: Path) -> None:
    smooth = torch.nn.functional.interpolate(probe(16, 14, 14).images, size=224, mode="bicubic").clamp(0, 1)
    path = write_report(history(51, 16, (56, 56)), tmp_path / "page.html", probe=Probe(smooth))
    assert path.stat().st_size < 5_000_000
    assert written(path)["panels"][0][4:] == [56, 56], "nothing is averaged"


@pytest.mark.parametrize("grid", [(224, 224), (3000,), (32, 32, 32)])
def test_size_of_the_finest_maps(grid: tuple[int, ...], tmp_path: Path) -> None:
    path = write_report(history(8, 16, grid), tmp_path / "page.html")
    assert path.stat().st_size < 5_000_000


# --- the sheets of findings


def picture(color: str) -> Image.Image:
    return Image.new("RGB", (16, 16), color)


def test_the_album_keeps_what_is_drawn_and_draws_once() -> None:
    drawn = []

    def draw() -> Image.Image:
        drawn.append(1)
        return picture("red")

    album = EvidenceImages()
    kept = album.keeping(("colour", None), draw)
    assert album.jpegs == {}
    assert kept() == picture("red")
    assert len(drawn) == 1
    assert Image.open(io.BytesIO(album.jpegs["colour", None])).size == (16, 16)


def test_the_album_is_bounded_and_follows_what_stands() -> None:
    album = EvidenceImages()
    draws = [album.keeping((str(i), None), lambda: picture("blue")) for i in range(MOST_SHEETS + 2)]
    for draw in draws:
        draw()  # also those that have no place any more
    assert list(album.jpegs) == [(str(i), None) for i in range(2, MOST_SHEETS + 2)]
    before = album.jpegs["3", None]
    album.keeping(("3", None), lambda: picture("green"))
    assert album.jpegs["3", None] == before, "until the new one is drawn"
    album.only([("3", None), ("other", 1)])
    assert list(album.jpegs) == [("3", None)]


def test_the_album_goes_through_a_checkpoint() -> None:
    album = EvidenceImages()
    album.keeping(("colour", 2), lambda: picture("red"))()
    file = io.BytesIO()
    torch.save(album.state(), file)
    back = EvidenceImages(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    assert back.jpegs == album.jpegs
    assert back.state()[0]["jpeg"].dtype == torch.uint8


# --- at the end of a fit


def fit(directory: Path, monitor: CAMMonitor, model: Any = None, **options: Any) -> Any:
    seed_everything(0, verbose=False)
    fitted = trainer(directory, **{"callbacks": [monitor], **options})
    fitted.fit(model or Classifier(), loader(shuffle=True), loader(seed=1))
    return fitted


def pages(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*.html"))


def test_a_fit_writes_it_beside_its_pictures(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    monitor = CAMMonitor(probe=6, shown=4)
    fit(tmp_path, monitor, max_epochs=3)
    path = tmp_path / "cam" / "report.html"
    assert f"CAMMonitor: every look on one page: {path}" in capsys.readouterr().out
    page = written(path)
    assert [look["epoch"] for look in page["looks"]] == [-1, 0, 1, 2]
    assert page["predicted"] == [look.predicted[:4].tolist() for look in monitor.history.looks]
    assert page["labels"] == monitor.probe.labels[:4].tolist()
    assert len(page["pictures"]) == 4
    settings = dict(page["settings"])
    assert (settings["method"], settings["target"], settings["epochs"]) == ("gradcam", "label", "3")
    assert settings["torch"] == torch.__version__
    assert settings["lightning_cam"]
    assert page["cues"], "the tests' scalars"


def test_with_a_logger_it_lies_in_the_logs(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    fit(tmp_path, CAMMonitor(probe=6), logger=logger, max_epochs=1)
    assert pages(Path(logger.log_dir)) == ["cam/report.html"]


def test_two_monitors_write_two(tmp_path: Path) -> None:
    monitors = [CAMMonitor(probe=6), CAMMonitor(probe=6, method="layercam", name="layers")]
    fit(tmp_path, monitors[0], callbacks=monitors, max_epochs=1)
    assert pages(tmp_path) == ["cam/report.html", "layers/report.html"]
    assert dict(written(tmp_path / "layers" / "report.html")["settings"])["method"] == "layercam"


@pytest.mark.parametrize("arguments", [{"report": False}, {"report": True, "fast_dev_run": True}])
def test_no_page(arguments: dict, tmp_path: Path) -> None:
    fit(tmp_path, CAMMonitor(probe=6, report=arguments.pop("report")), **arguments)
    assert pages(tmp_path) == []


def test_no_page_of_a_validation_alone(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    trainer(tmp_path, callbacks=[monitor]).validate(Classifier(), loader(seed=1), verbose=False)
    fit(tmp_path / "fit", monitor, max_epochs=1)
    trainer(tmp_path, callbacks=[monitor]).validate(Classifier(), loader(seed=1), verbose=False)
    assert pages(tmp_path) == ["fit/cam/report.html"]


class Breaks(Classifier):
    """Raises in the training of an epoch."""

    def __init__(self, epoch: int, error: BaseException) -> None:
        super().__init__()
        self.epoch, self.error = epoch, error

    def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        if self.current_epoch == self.epoch:
            raise self.error
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("error", [RuntimeError("the user's own"), KeyboardInterrupt()])
def test_after_an_exception(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises((RuntimeError, SystemExit)):
        fit(tmp_path, CAMMonitor(probe=6), Breaks(2, error), max_epochs=5)
    assert [look["epoch"] for look in written(tmp_path / "cam" / "report.html")["looks"]] == [-1, 0, 1]


def test_an_exception_before_the_first_look_leaves_none(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the user's own"):
        fit(tmp_path, CAMMonitor(probe=6), Breaks(0, RuntimeError("the user's own")))
    assert pages(tmp_path) == []


def test_a_page_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    in_the_way = tmp_path / "cam" / "report.html"
    in_the_way.mkdir(parents=True)
    with pytest.warns(UserWarning, match="cam/report") as caught:
        fitted = fit(tmp_path, CAMMonitor(probe=6))
    told = [str(warning.message) for warning in caught if "report" in str(warning.message)]
    assert len(told) == 1
    assert "is lost (IsADirectoryError" in told[0]
    assert fitted.current_epoch == 2
    assert len(list((tmp_path / "cam" / "overlay").glob("*.jpg"))) == 2


def test_a_report_that_is_neither(unchecked: None) -> None:
    with pytest.raises(TypeError, match="report: got 'yes'; give True or False"):
        CAMMonitor(report="yes")


@pytest.mark.parametrize("persist_probe", [True, False])
def test_the_evidence_of_findings(persist_probe: bool, tmp_path: Path) -> None:
    val, monitor = DataLoader(tagged(), batch_size=12), CAMMonitor(probe=24, persist_probe=persist_probe)
    saved = ModelCheckpoint(tmp_path, save_last=True)
    options = {"callbacks": [monitor, saved], "enable_checkpointing": True, "max_epochs": 3}
    with pytest.warns(UserWarning, match="decides"):
        trainer(tmp_path, **options).fit(ReadsTheTag(), val, val)
    page = written(tmp_path / "cam" / "report.html")
    assert {found["statement"] for found in page["findings"]} == {
        found.statement for found in monitor.findings
    }
    first = page["findings"][0]
    assert first["level"] == "warning"
    sheet = Image.open(io.BytesIO(base64.b64decode(first["sheet"].partition(",")[2])))
    assert sheet.size == Image.open(max((tmp_path / "cam" / "shortcut").glob("*.jpg"))).size
    assert len(page["pictures"]) == 16, "the page lies beside the pictures, which hold images as well"

    main([saved.last_model_path, "-o", str(tmp_path / "again.html")])
    again = written(tmp_path / "again.html")
    same = [
        "looks",
        "probe",
        "labels",
        "names",
        "predicted",
        "confidence",
        "statistics",
        "settings",
        "maps",
        "tops",
        "width",
    ]
    assert {name: again[name] for name in same} == {name: page[name] for name in same}
    state = torch.load(saved.last_model_path, weights_only=True)["callbacks"][monitor.state_key]
    if persist_probe:
        assert again["pictures"] == page["pictures"]
        assert any(found["sheet"] for found in again["findings"])
    else:
        assert again["pictures"] == []
        assert any("the images were not kept" in note for note in again["notes"])
        assert not any(found["sheet"] for found in again["findings"])
        assert (state["probe"], state["sheets"]) == (None, [])


def test_a_resumed_run_tells_the_whole_story(tmp_path: Path) -> None:
    def run(directory: Path, epochs: int, resume: str | None) -> str:
        saved = ModelCheckpoint(directory, save_last=True)
        seed_everything(0, verbose=False)
        options = {
            "callbacks": [CAMMonitor(probe=6), saved],
            "enable_checkpointing": True,
            "max_epochs": epochs,
        }
        trainer(directory, **options).fit(
            Classifier(), loader(shuffle=True), loader(seed=1), ckpt_path=resume
        )
        return saved.last_model_path

    run(tmp_path / "more", 3, run(tmp_path / "first", 1, None))
    assert [look["epoch"] for look in written(tmp_path / "more" / "cam" / "report.html")["looks"]] == [
        -1,
        0,
        1,
        2,
    ]


class Signals(Classifier):
    def __init__(self) -> None:
        super().__init__(
            torch.nn.Sequential(
                torch.nn.Conv1d(2, 4, 3, padding=1), torch.nn.ReLU(), Mean(), torch.nn.Linear(4, CLASSES)
            )
        )


class Volumes(Classifier):
    def __init__(self) -> None:
        super().__init__(
            torch.nn.Sequential(
                torch.nn.Conv3d(3, 4, 3, padding=1), torch.nn.ReLU(), Mean(), torch.nn.Linear(4, CLASSES)
            )
        )


class Mean(torch.nn.Module):
    def forward(self, activations: Tensor) -> Tensor:
        return activations.flatten(2).mean(dim=2)


@pytest.mark.parametrize(("model", "shape", "panels"), [(Signals, (2, 40), 1), (Volumes, (3, 8, 8, 8), 3)])
def test_signals_and_volumes_in_a_fit(
    model: type, shape: tuple[int, ...], panels: int, tmp_path: Path
) -> None:
    images = torch.randn(12, *shape, generator=torch.Generator().manual_seed(0))
    batches = DataLoader(torch.utils.data.TensorDataset(images, torch.arange(12) % CLASSES), batch_size=6)
    monitor = CAMMonitor(probe=6, target_layer="net.0")
    trainer(tmp_path, callbacks=[monitor]).fit(model(), batches, batches)
    page = written(tmp_path / "cam" / "report.html")
    assert len(page["panels"]) == panels
    assert len(page["pictures"]) == 6
    assert all(math.isfinite(top) for row in page["tops"] for top in row)


# --- from a checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a fit with two monitors."""
    directory = tmp_path_factory.mktemp("run")
    saved = ModelCheckpoint(directory, save_last=True)
    monitors = [
        CAMMonitor(probe=6, cues=None),
        CAMMonitor(probe=6, cues=None, method="layercam", name="it's mine"),
    ]
    trainer(directory, callbacks=[*monitors, saved], enable_checkpointing=True).fit(
        Classifier(), loader(), loader(seed=1)
    )
    return Path(saved.last_model_path)


def test_the_command(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    run = [
        sys.executable,
        "-W",
        "error::RuntimeWarning",
        "-m",
        "lightning_cam.report",
        checkpoint,
        "-o",
        out,
        "--name",
        "it's mine",
    ]
    said = subprocess.run(run, capture_output=True, text=True, check=True).stdout  # noqa: S603
    assert str(out) in said
    assert dict(written(out)["settings"])["method"] == "layercam"


def test_the_page_lies_beside_the_checkpoint_unless_told(checkpoint: Path) -> None:
    main([str(checkpoint), "--name", "cam"])
    assert dict(written(checkpoint.with_suffix(".html"))["settings"])["method"] == "gradcam"


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        (lambda kept: kept, None, "--name: the checkpoint holds 2 monitors; choose one of 'cam', \"it's mine\""),
        (lambda kept: kept, "can", "--name: no monitor 'can' in the checkpoint; there are 'cam'"),
        (lambda kept: {"callbacks": {"EarlyStopping": {"wait": 1}}}, None, "CHECKPOINT: it holds no look .* EarlyStopping; "),
        (lambda kept: {"state_dict": {}}, None, "CHECKPOINT: it holds no look of a CAMMonitor; give one"),
        (lambda kept: [1, 2], None, "CHECKPOINT: it holds no look of a CAMMonitor"),
        (
            lambda kept: kept | {"callbacks": {key: state | {"history": []} for key, state in kept["callbacks"].items()
                                               if "version" in state}},
            "cam",
            "CHECKPOINT: its monitor has made no look yet",
        ),
        (
            lambda kept: kept | {"callbacks": {key: state | {"version": 99} for key, state in kept["callbacks"].items()
                                               if "version" in state}},
            "cam",
            "CHECKPOINT: the checkpoint's state has version 99, not 1",
        ),
    ],
)  # fmt: skip
def test_checkpoints_that_will_not_do(change: Any, name: str | None, message: str, checkpoint: Path) -> None:
    kept = torch.load(checkpoint, weights_only=True)
    with pytest.raises(ValueError, match=message):
        remembered(change(kept), name)


class Anything:
    """What a careful reader does not load."""


def test_files_that_cannot_be_read(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2
        return capsys.readouterr().err

    assert "No such file" in refused(str(tmp_path / "none.ckpt"))
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    assert "CHECKPOINT: " in refused(str(tmp_path / "text.ckpt"))
    kept = torch.load(checkpoint, weights_only=True)
    torch.save(kept | {"hyper_parameters": Anything()}, tmp_path / "own.ckpt")
    assert "add --trust" in refused(str(tmp_path / "own.ckpt"), "--name", "cam")
    assert not pages(tmp_path)
    main([str(tmp_path / "own.ckpt"), "--name", "cam", "--trust"])
    assert pages(tmp_path) == ["own.html"]


def test_a_checkpoint_of_an_earlier_version(checkpoint: Path, tmp_path: Path) -> None:
    later = {"settings", "sheets", "size", "labels", "class_names"}
    kept = torch.load(checkpoint, weights_only=True)
    for key, state in kept["callbacks"].items():
        kept["callbacks"][key] = {name: value for name, value in state.items() if name not in later}
    torch.save(kept, tmp_path / "old.ckpt")
    main([str(tmp_path / "old.ckpt"), "--name", "cam"])
    page = written(tmp_path / "old.html")
    assert len(page["pictures"]) == 6
    assert page["settings"] == []
