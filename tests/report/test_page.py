"""The report page: what it holds, how large it is, and that nothing in it acts."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.pages import EVIL, Page, finding, history, probe, written

from lightning_cam import Probe, write_report
from lightning_cam.data.history import History, remember
from lightning_cam.visualization.projection import flat_saliency

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
            looks,
            tmp_path / "deep" / "page.html",
            probe=given,
            shown=3,
            settings={"lr": 0.1, "of": None},
            metrics={10: {"val_loss": 0.5}, 30: {"val_loss": 0.25, "f1": 1.0}, 99: {"other": 1.0}},
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
    assert page["metrics"] == [
        {"name": "val_loss", "values": [None, 0.5, None, 0.25]},
        {"name": "f1", "values": [None, None, None, 1.0]},
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
        finding(cue="colour", reliance=0.25),
        finding(reliance=0.45),
        finding(cue="sharpness", may_warn=False, level="notice", reliance=0.9),
    )
    page = written(
        write_report(
            history(1, 2, (4, 4)),
            tmp_path / "page.html",
            findings=[seen, weak, strong],
            sheets={strong.key: buffer.getvalue()},
            predictivities={"colour": 0.8, "border_8": 0.97, "tones": 0.2},
            reliances=[(0, {"colour": 0.25, "border_8": 0.45})],
            notes=["'fringes' needs 3 channels"],
        )
    )
    assert [found["statement"] for found in page["findings"]] == [
        strong.statement,
        weak.statement,
        seen.statement,
    ]
    assert [bool(found["sheet"]) for found in page["findings"]] == [True, False, False]
    assert base64.b64decode(page["findings"][0]["sheet"].partition(",")[2]) == buffer.getvalue()
    assert [(cue["cue"], cue["predictivity"]) for cue in page["cues"]] == [
        ("border_8", 0.97),
        ("colour", 0.8),
        ("tones", 0.2),
    ]
    assert page["untested"] == ["'fringes' needs 3 channels"]
    kind, _, content = page["reliance"].partition(",")
    assert kind == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).width == 824


def test_the_old_words_are_nowhere_on_the_page(tmp_path: Path) -> None:
    page = Page(
        write_report(
            history(1, 2, (4, 4)),
            tmp_path / "page.html",
            findings=[finding(), finding(cue="colour", label=2, looks=1)],
            predictivities={"border_8": 0.97, "colour": 0.2},
            reliances=[(0, {"border_8": 0.45})],
            notes=["'fringes' needs 3 channels"],
        )
    )
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page.text)
    assert "reliance" in text
    for word in (
        "donor",
        r"\bhosts?\b",
        "transplant",
        "dominance",
        "dominates",
        r"\btiers?\b",
        r"\bstages?\b",
        "conflict",
    ):
        assert not re.search(word, text, flags=re.IGNORECASE), word


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
