"""The report page in a real browser: Debian's Chromium without a screen."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.pages import EVIL, finding, history, probe

pytest.importorskip("selenium", reason="needs selenium: pip install -e '.[test]'")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from lightning_cam import Probe, write_report
from lightning_cam.attribution.maps import relative
from lightning_cam.data.history import History, remember
from lightning_cam.visualization.blend import (
    MOST_OPAQUE,
    WEAK,
    color_table,
    colorize,
    displayable,
    overlay,
    overlay_cams,
)
from lightning_cam.visualization.projection import drawn_size, flat_saliency, flatten_to_pictures, peaks_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (Debian: chromium-driver)"
)

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --force-color-profile=srgb --window-size=1200,900"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def opened(browser: WebDriver, path: Path, width: int = 1200, scheme: str = "light") -> WebDriver:
    """The page, ready, with fresh logs."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get("about:blank")
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(path.as_uri())
    WebDriverWait(browser, 20).until(
        lambda page: page.execute_script("return document.documentElement.dataset.ready") == "true"
    )
    return browser


def one(page: WebDriver, selector: str) -> WebElement:
    return page.find_element(By.CSS_SELECTOR, selector)


def pixels(page: WebDriver, selector: str, number: int = 0) -> np.ndarray:
    """(H, W, 4) what a canvas shows."""
    script = """
        const canvas = document.querySelectorAll(arguments[0])[arguments[1]];
        const { width, height } = canvas;
        return [width, height, Array.from(canvas.getContext("2d").getImageData(0, 0, width, height).data)];
    """
    width, height, values = page.execute_script(script, selector, number)
    return np.array(values).reshape(height, width, 4)


def slide(page: WebDriver, look: int) -> None:
    script = 'const s = document.getElementById("slider"); s.value = arguments[0]; s.dispatchEvent(new Event("input"));'
    page.execute_script(script, look)


def expected(images: torch.Tensor, cams: torch.Tensor, most: float = MOST_OPAQUE) -> np.ndarray:
    """(n, H, W, 3) as the package draws it."""
    size = drawn_size(images, 112, 256)
    shown, _ = displayable(images)
    values = flat_saliency(cams, tuple(images.shape[2:]), size)
    peaks = peaks_of(cams)
    fade = (peaks / (WEAK * peaks.max())).clamp(max=1).sqrt()[:, None, None]
    heat, opacity = colorize(values, color_table("plasma")), most * (fade * values)[:, None]
    return (
        (255 * overlay(flatten_to_pictures(shown, size), heat, opacity.expand(-1, 3, -1, -1)))
        .permute(0, 2, 3, 1)
        .numpy()
    )


@pytest.fixture(scope="module")
def given() -> tuple[History, Probe]:
    return history(4, 5, (4, 4)), probe(5, 16, 16, names=["cat", "dog", "bird"])


@pytest.fixture(scope="module")
def page(given: tuple[History, Probe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    looks, images = given
    return write_report(
        looks,
        tmp_path_factory.mktemp("page") / "report.html",
        probe=images,
        findings=[finding()],
        predictivities={"border_8": 0.97, "tones": 0.3},
        reliances=[(0, {"border_8": 0.2}), (1, {"border_8": 0.42})],
        notes=["'fringes' needs 3 channels"],
        settings={"method": "gradcam", "target layer": "layer4", "target": "label"},
    )


# --- what it draws


def test_overlays_are_those_of_the_pictures(
    browser: WebDriver, page: Path, given: tuple[History, Probe]
) -> None:
    looks, images = given
    opened(browser, page)
    for number in (3, 0, 2):
        slide(browser, number)
        wanted = expected(images.images, looks.looks[number].cams)
        for image in range(5):
            found = pixels(browser, "#gallery canvas", image)
            # Cells have a byte each, so a colour may be one off in the table of 256, which is up to four levels of 255; and the
            # canvas rounds each time it blends.
            assert np.abs(found[..., :3] - wanted[image]).max() <= 5
            assert np.abs(found[..., :3] - wanted[image]).mean() < 1
            assert (found[..., 3] == 255).all()
        other = expected(images.images, looks.looks[(number + 1) % 4].cams)
        assert np.abs(found[..., :3] - other[-1]).mean() > 5, "another look's map is told from this one"


def test_signed_maps_and_volumes(browser: WebDriver, tmp_path: Path) -> None:
    for name, size, grid in (
        ("signed", (20, 30), (5, 4)),
        ("signal", (40,), (8,)),
        ("volume", (8, 10, 12), (3, 4, 5)),
    ):
        looks, images = history(2, 2, grid, signed=True), probe(2, *size, channels=2 if len(size) == 1 else 3)
        opened(browser, write_report(looks, tmp_path / f"{name}.html", probe=images))
        for image, wanted in enumerate(expected(images.images, looks.looks[-1].cams)):
            found = pixels(browser, "#gallery canvas", image)[..., :3]
            assert found.shape == wanted.shape
            assert np.abs(found - wanted).mean() < 1.5, name
            assert np.abs(found - wanted).max() <= 12, (
                name
            )  # of the 256 colours some share goes to what is negative
        assert complaints(browser) == []


def test_one_scale_over_the_run(browser: WebDriver, tmp_path: Path) -> None:
    cams = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(3))
    looks = History(
        tuple(
            remember(i, i, cams * scale, torch.zeros(2, dtype=torch.int64), torch.rand(2), {})
            for i, scale in enumerate((1.0, 0.25))
        )
    )
    images = probe(2, 16, 16)
    opened(browser, write_report(looks, tmp_path / "page.html", probe=images))
    own = pixels(browser, "#gallery canvas")[..., :3]
    Select(one(browser, "#scale")).select_by_value("run")
    found = pixels(browser, "#gallery canvas")[..., :3]
    assert np.abs(found - own).mean() > 5
    quarter = 0.25 * relative(flat_saliency(cams, (16, 16), (112, 112)))
    picture, heat = flatten_to_pictures(images.images, (112, 112)), colorize(quarter, color_table("plasma"))
    wanted = 255 * overlay(picture, heat, MOST_OPAQUE * quarter[:, None].expand(-1, 3, -1, -1))
    assert np.abs(found - wanted[0].permute(1, 2, 0).numpy()).max() <= 5
    assert "over the run" in one(browser, "#meaning").text


def test_opacity(browser: WebDriver, page: Path, given: tuple[History, Probe]) -> None:
    looks, images = given
    opened(browser, page)
    for opacity in (0.0, 1.0):
        script = 'const o = document.getElementById("opacity"); o.value = arguments[0]; o.dispatchEvent(new Event("input"));'
        browser.execute_script(script, opacity)
        wanted = expected(images.images, looks.looks[-1].cams, opacity)[0]
        assert np.abs(pixels(browser, "#gallery canvas")[..., :3] - wanted).max() <= 8 * opacity + 1


def test_a_weak_map_is_drawn_fainter_and_says_so(browser: WebDriver, tmp_path: Path) -> None:
    cams = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(5))
    cams = cams / cams.amax(dim=(1, 2), keepdim=True) * torch.tensor([1.0, 0.04, 0.0])[:, None, None]
    look = remember(0, 0, cams, torch.zeros(3, dtype=torch.int64), torch.rand(3), {})
    images = probe(3, 16, 16)
    opened(browser, write_report(History((look,)), tmp_path / "page.html", probe=images))
    remarks = [card.text for card in browser.find_elements(By.CSS_SELECTOR, "#gallery li")]
    said = "weak: 4 %"
    assert "below 10 % of the strongest map of its look" in one(browser, "#notes").text
    assert [said in text for text in remarks] == [False, True, False]
    assert ["blank map" in text for text in remarks] == [False, False, True]
    shown = displayable(images.images)[0]
    wanted = overlay_cams(
        flatten_to_pictures(shown, (112, 112)),
        cams,
        (16, 16),
        (112, 112),
        color_table("plasma"),
        strongest=1.0,
    )
    for image in range(2):
        found = pixels(browser, "#gallery canvas", image)[..., :3]
        assert np.abs(found - 255 * wanted[image].permute(1, 2, 0).numpy()).max() <= 5


def test_what_was_not_looked_at_shows_no_map(browser: WebDriver, tmp_path: Path) -> None:
    first = history(1, 3, (4, 4)).looks[0].of(torch.tensor([-1, 1, 2]))
    second = history(2, 3, (4, 4)).looks[1]
    images = probe(3, 16, 16)
    opened(browser, write_report(History((first, second)), tmp_path / "page.html", probe=images))
    slide(browser, 0)
    plain = (255 * images.images[0]).round().permute(1, 2, 0).numpy().repeat(7, 0).repeat(7, 1)
    found = pixels(browser, "#gallery canvas")[..., :3]
    assert np.abs(found - found[..., :1]).max() <= 1, "grey"
    assert (found >= 0.65 * 255 - 1).all(), "and pale"
    grey = plain @ np.array([0.3, 0.59, 0.11])  # as browsers weigh colours
    assert np.abs(found[..., 0] - (0.65 * 255 + 0.35 * grey)).max() <= 2
    assert "not looked at" in one(browser, "#gallery li").text
    assert "wrong" not in one(browser, "#gallery button").get_attribute("class")


def test_without_images_maps_are_shown(browser: WebDriver, tmp_path: Path) -> None:
    looks = history(2, 3, (4, 4))
    opened(browser, write_report(looks, tmp_path / "page.html"))
    heat = colorize(flat_saliency(looks.looks[-1].cams, (4, 4), (112, 112)), color_table("plasma"))
    wanted = 255 * heat.permute(0, 2, 3, 1).numpy()
    assert np.abs(pixels(browser, "#gallery canvas")[..., :3] - wanted[0]).max() <= 8
    assert "the images were not kept" in one(browser, "#notes").text.lower()
    assert not one(browser, "#opacity").is_displayed()


# --- what it says


ASKED = {"predictivities": {"border_8": 0.97}, "reliances": [(0, {"border_8": 0.02})]}
ALONE = {"predictivities": {"border_8": 0.4}, "reliances": [(0, {})]}


@pytest.mark.parametrize(
    ("given_to_it", "tile", "sentence"),
    [
        (
            {**ASKED, "tested": (64, 64)},
            "none found\n64 of 64 images tested",
            "Shortcut tests: none found (64 of 64 images tested).",
        ),
        (
            {**ASKED, "tested": (9, 18)},
            "none found\n9 of 18 images tested",
            "Shortcut tests: none found (9 of 18 images tested).",
        ),
        (
            {**ASKED, "tested": (6, 18)},
            "not possible yet\n6 of 18 images are answered rightly",
            "Shortcut tests: not possible yet, 6 of 18 images are answered rightly.",
        ),
        (
            {**ALONE, "tested": (6, 18)},
            "none found\nno cue alone tells the label well enough: nothing to test",
            "Shortcut tests: none found (no cue alone tells the label well enough: nothing to test).",
        ),
        ({}, "not tested", "Shortcut tests: not tested."),
    ],
    ids=["all", "enough", "too few", "nothing to test", "no tests"],
)
def test_it_says_how_much_was_tested_where_nothing_was_found(
    given_to_it: dict[str, Any], tile: str, sentence: str, browser: WebDriver, tmp_path: Path
) -> None:
    looks, images = history(2, 3, (4, 4)), probe(3, 16, 16)
    opened(browser, write_report(looks, tmp_path / "page.html", probe=images, **given_to_it))
    assert f"Shortcut tests\n{tile}" in one(browser, "#tiles").text
    assert sentence in one(browser, "#findings").text


def test_it_says_what_was_found_and_what_changed(
    browser: WebDriver, page: Path, given: tuple[History, Probe]
) -> None:
    looks, images = given
    opened(browser, page)
    right = [int((look.predicted == images.labels).sum()) for look in looks.looks]
    tiles = one(browser, "#tiles").text
    assert f"{right[-1]} of 5" in tiles
    change = right[-1] - right[-2]
    assert (f"+{change}" if change > 0 else f"−{-change}" if change else "±0") + " since epoch 1" in tiles
    moved = int((looks.looks[-1].predicted != looks.looks[-2].predicted).sum())
    assert f"{moved} of 5 shown" in tiles
    assert "1 warning" in tiles
    drift = looks.looks[-1].means["drift_last"]
    assert f"Change since epoch 1\n{drift:.3f} bit (0 same, 1 disjoint)" in tiles
    told = one(browser, "#findings").text
    assert finding().statement in told
    assert finding().statement + "." not in told
    heads = browser.find_elements(By.CSS_SELECTOR, ".found th")
    cells = browser.find_elements(By.CSS_SELECTOR, ".found td")
    assert dict(zip((head.text for head in heads), (cell.text for cell in cells), strict=True)) == {
        "cue": "the border",
        "tells the label": "0.97",
        "reliance": "42 points",
        "drawn to the cue's class": "31 %",
        "classes": "a",
        "holds": "2 looks in a row, since epoch 1",
        "level": "warning",
    }
    assert "Not tested: 'fringes' needs 3 channels." in told
    assert one(browser, ".reliance img").size["width"] > 500
    one(browser, "#finding-list > details summary").click()
    cues = [cue.text.split("\n") for cue in browser.find_elements(By.CSS_SELECTOR, ".cue")]
    assert cues == [
        ["the border", "0.97", "reliance 42 points at epoch 1"],
        ["brightness and contrast", "0.30", "not tested: does not tell the label well enough"],
    ]
    bars = browser.find_elements(By.CSS_SELECTOR, ".cue .track span")
    tracks = browser.find_elements(By.CSS_SELECTOR, ".cue .track")
    for bar, track, share in zip(bars, tracks, (0.97, 0.3), strict=True):
        assert bar.size["width"] / track.size["width"] == pytest.approx(share, abs=0.02)
    assert one(browser, "#when").text == "epoch 2"
    assert "gradcam at layer4 · target: label" in one(browser, "#asked").text
    for image, card in enumerate(browser.find_elements(By.CSS_SELECTOR, "#gallery li")):
        predicted, label = int(looks.looks[-1].predicted[image]), int(images.labels[image])
        assert images.name(predicted) in card.text
        assert f"label {images.name(label)}" in card.text
        verdict = "right" if predicted == label else "wrong"
        assert verdict in card.find_element(By.TAG_NAME, "button").get_attribute("class")
        assert card.find_element(By.CSS_SELECTOR, "svg.sign").get_attribute("aria-label") == verdict


@pytest.mark.parametrize("width", [1200, 390])
def test_the_table_of_findings_fits_or_scrolls_by_itself(
    width: int, browser: WebDriver, tmp_path: Path
) -> None:
    found = finding(classes=tuple(f"a class with a long name, number {i}" for i in range(12)))
    opened(browser, write_report(history(2, 3, (4, 4)), tmp_path / "page.html", findings=[found]), width)
    script = (
        "const t = document.querySelector('.found').parentElement; return [t.scrollWidth, t.clientWidth];"
    )
    inner, outer = browser.execute_script(script)
    assert (inner > outer) == (width < 720)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_filters(browser: WebDriver, page: Path, given: tuple[History, Probe]) -> None:
    looks, images = given
    opened(browser, page)
    choice = Select(one(browser, "#filter"))

    def shown() -> list[int]:
        names = [
            canvas.get_attribute("aria-label")
            for canvas in browser.find_elements(By.CSS_SELECTOR, "#gallery canvas")
        ]
        return [int(name.split()[1]) - 1 for name in names]

    assert shown() == [0, 1, 2, 3, 4]
    now, past = looks.looks[-1], looks.looks[-2]
    choice.select_by_value("wrong")
    assert shown() == (now.predicted != images.labels).nonzero()[:, 0].tolist()
    choice.select_by_value("changed")
    assert shown() == (now.predicted != past.predicted).nonzero()[:, 0].tolist()
    choice.select_by_value("moved")
    assert shown() == now.statistics["drift_last"].argsort(descending=True).tolist()


# --- how it is used


def test_the_slider_by_keys(browser: WebDriver, page: Path) -> None:
    opened(browser, page)
    slider = one(browser, "#slider")
    seen = {3: pixels(browser, "#gallery canvas").tobytes()}
    for key, look in ((Keys.HOME, 0), (Keys.ARROW_RIGHT, 1), (Keys.END, 3), (Keys.ARROW_LEFT, 2)):
        slider.send_keys(key)
        assert slider.get_attribute("value") == str(look)
        assert slider.get_attribute("aria-valuetext").startswith(one(browser, "#when").text)
        seen[look] = pixels(browser, "#gallery canvas").tobytes()
    assert one(browser, "#when").text == "epoch 1"
    assert len(set(seen.values())) == 4, "each look has its own pictures"
    one(browser, "body").send_keys(Keys.ARROW_LEFT)
    assert slider.get_attribute("value") == "1", "also where nothing has the focus"
    assert complaints(browser) == []


def test_it_plays_to_the_end(browser: WebDriver, page: Path) -> None:
    opened(browser, page)
    button = one(browser, "#play")
    button.click()
    assert (button.text, one(browser, "#slider").get_attribute("value")) == ("Pause", "0")
    WebDriverWait(browser, 10).until(lambda _: button.text == "Play")
    assert one(browser, "#slider").get_attribute("value") == "3"


def test_an_image_opens_with_its_history(
    browser: WebDriver, page: Path, given: tuple[History, Probe]
) -> None:
    looks, images = given
    opened(browser, page)
    card = browser.find_elements(By.CSS_SELECTOR, "#gallery button")[1]
    card.send_keys(Keys.ENTER)
    dialog = one(browser, "dialog")
    assert dialog.get_attribute("open") is not None
    assert one(browser, "#detail-title").text == "Image 2 · label dog"
    frames = browser.find_elements(By.CSS_SELECTOR, "#strip button")
    assert [frame.text for frame in frames] == ["untrained", "epoch 0", "epoch 1", "epoch 2"]
    for number, look in enumerate(looks.looks):
        wanted = expected(images.images, look.cams)[1]
        assert np.abs(pixels(browser, "#strip canvas", number)[..., :3] - wanted).max() <= 5
    circles = browser.find_elements(By.CSS_SELECTOR, "#confidence circle")
    assert len(circles) == 4
    frames[1].click()
    assert one(browser, "#slider").get_attribute("value") == "1"
    assert (
        np.abs(pixels(browser, "#over")[..., :3] - expected(images.images, looks.looks[1].cams)[1]).max() <= 5
    )
    one(browser, "#after").click()
    assert one(browser, "#detail-title").text == "Image 3 · label bird"
    dialog.send_keys(Keys.ESCAPE)
    assert dialog.get_attribute("open") is None

    def focused(browser: WebDriver) -> bool:  # the browser tells the page of the end a moment later
        canvases = browser.switch_to.active_element.find_elements(By.TAG_NAME, "canvas")
        return bool(canvases) and str(canvases[0].get_attribute("aria-label")).startswith("Image 3")

    WebDriverWait(browser, 10).until(focused, "the focus comes back")
    assert complaints(browser) == []


def test_the_table_sorts(browser: WebDriver, page: Path, given: tuple[History, Probe]) -> None:
    looks, _ = given
    opened(browser, page)

    def head(title: str) -> WebElement:
        return next(
            th for th in browser.find_elements(By.CSS_SELECTOR, "th") if th.text.rstrip(" ▲▼") == title
        )

    def rows() -> list[int]:
        return [
            int(cell.text) - 1 for cell in browser.find_elements(By.CSS_SELECTOR, "#table td:first-child")
        ]

    entropy = looks.looks[-1].statistics["entropy"]
    assert rows() == [0, 1, 2, 3, 4]
    head("entropy").find_element(By.TAG_NAME, "button").click()
    assert (rows(), head("entropy").get_attribute("aria-sort")) == (entropy.argsort().tolist(), "ascending")
    head("entropy").find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert (rows(), head("entropy").get_attribute("aria-sort")) == (
        entropy.argsort(descending=True).tolist(),
        "descending",
    )
    assert head("image").get_attribute("aria-sort") == "none"
    slide(browser, 0)
    assert rows() == looks.looks[0].statistics["entropy"].argsort(descending=True).tolist()


def test_a_chart_is_chosen(browser: WebDriver, page: Path) -> None:
    opened(browser, page)
    buttons = browser.find_elements(By.CSS_SELECTOR, "#many button")
    assert [button.get_attribute("aria-pressed") for button in buttons] == ["true"] + ["false"] * 4
    before = one(browser, "#chart path").get_attribute("d")
    buttons[2].click()
    assert one(browser, "#chart-title").text.startswith("entropy")
    assert one(browser, "#chart path").get_attribute("d") != before
    assert browser.find_elements(By.CSS_SELECTOR, "#many button")[2].get_attribute("aria-pressed") == "true"


# --- how it looks, and what it does not do


@pytest.mark.parametrize("width", [320, 400, 800, 1400])
def test_nothing_is_wider_than_the_screen(width: int, browser: WebDriver, page: Path) -> None:
    opened(browser, page, width)
    inner = "return [document.documentElement.scrollWidth, innerWidth]"
    assert browser.execute_script(inner)[0] <= width
    browser.execute_script("document.querySelector('#gallery button').click()")
    assert (
        browser.execute_script(
            "const d = document.querySelector('dialog'); return d.scrollWidth - d.clientWidth"
        )
        <= 0
    )
    assert browser.execute_script(inner)[0] <= width


def luminance(color: str) -> float:
    red, green, blue = (int(part) for part in color[color.index("(") + 1 : -1].split(",")[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


def test_light_and_dark(browser: WebDriver, page: Path) -> None:
    def paper_and_ink() -> tuple[float, float]:
        body = one(browser, "body")
        return luminance(body.value_of_css_property("background-color")), luminance(
            body.value_of_css_property("color")
        )

    for scheme, other in (("light", "dark"), ("dark", "light")):
        opened(browser, page, scheme=scheme)
        for now in (scheme, other, scheme):
            paper, ink = paper_and_ink()
            assert (paper > 0.9, ink < 0.2) == (now == "light", now == "light"), (scheme, now)
            button = one(browser, "#theme")
            assert button.text == {"light": "Dark", "dark": "Light"}[now]
            button.click()


def test_the_focus_can_be_seen(browser: WebDriver, page: Path) -> None:
    opened(browser, page)
    one(browser, "body").send_keys(Keys.TAB)
    for _ in range(12):
        focused = browser.switch_to.active_element
        assert focused.value_of_css_property("outline-style") != "none", focused.get_attribute("id")
        assert float(focused.value_of_css_property("outline-width").removesuffix("px")) >= 1
        focused.send_keys(Keys.TAB)


def test_users_names_are_text_and_nothing_is_asked_of_a_network(browser: WebDriver, tmp_path: Path) -> None:
    count = len(EVIL)
    path = write_report(
        history(3, count, (4, 4), classes=count),
        tmp_path / "<b>page.html",
        probe=Probe(probe(count, 16, 16).images, torch.arange(count), class_names=tuple(EVIL)),
        findings=[finding(classes=tuple(EVIL), label=0)],
        settings={"method": EVIL[0], EVIL[1]: EVIL[2], "target layer": EVIL[1]},
        predictivities={EVIL[1]: 0.5},
        reliances=[(0, {EVIL[1]: 0.5})],
        notes=[EVIL[0]],
    )
    opened(browser, path)
    cards = browser.find_elements(By.CSS_SELECTOR, "#gallery li")
    for card, name in zip(cards, EVIL, strict=True):
        (label,) = card.find_elements(By.CSS_SELECTOR, ".faint bdi")
        assert label.get_property("textContent") == name
    for image in range(count):
        browser.execute_script("openDetail(arguments[0])", image)
    browser.execute_script("document.querySelector('dialog').close()")
    slide(browser, 0)
    with pytest.raises(Exception, match="no such alert"):
        _ = browser.switch_to.alert
    assert browser.execute_script("return document.scripts.length") == 2
    assert browser.execute_script("return document.querySelectorAll('img[onerror], b').length") == 0
    assert complaints(browser) == []
    asked = requests(browser)
    assert any(url.startswith("file:") for url in asked), "the log does tell of requests"
    assert [url for url in asked if not url.startswith(("data:", path.as_uri()))] == []
    names = browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert [name for name in names if not name.startswith("data:")] == []


def test_the_policy_holds(browser: WebDriver, page: Path) -> None:
    opened(browser, page)
    script = """
        const done = arguments[0];
        const script = document.createElement("script");
        script.textContent = "document.documentElement.dataset.broken = 'true'";
        document.body.append(script);
        fetch("http://127.0.0.1:9/").then(() => done("fetched"), () => done("refused"));
    """
    assert browser.execute_async_script(script) == "refused"
    assert browser.execute_script("return document.documentElement.dataset.broken") is None
    told = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert "Content Security Policy" in told


def complaints(browser: WebDriver) -> list[str]:
    """What the console holds, but for the hint that ``pixels`` reads many canvases."""
    return [
        entry["message"]
        for entry in browser.get_log("browser")
        if "willReadFrequently" not in entry["message"]
    ]


def requests(browser: WebDriver) -> list[str]:
    messages: list[dict[str, Any]] = [
        json.loads(entry["message"])["message"] for entry in browser.get_log("performance")
    ]
    return [
        found["params"]["request"]["url"]
        for found in messages
        if found["method"] == "Network.requestWillBeSent"
    ]


# --- tasks


def test_several_labels(browser: WebDriver, tmp_path: Path) -> None:
    truth = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [torch.nan, 1.0, 0.0]])
    shares = torch.tensor([[0.75, 0.25, 0.5], [0.125, 0.25, 0.5], [0.5, 0.25, 0.125]])
    looks = History(
        tuple(
            remember(
                epoch,
                epoch + 1,
                torch.rand(3, 4, 4),
                shares.argmax(dim=1),
                shares.amax(dim=1),
                {},
                right,
                shares,
            )
            for epoch, right in enumerate(
                (torch.tensor([0.0, 0.5, 0.5]), torch.tensor([1.0, 0.5, torch.nan]))
            )
        )
    )
    given = Probe(torch.rand(3, 3, 16, 16), truth, None, ("Mass", "Edema", "Effusion"))
    opened(browser, write_report(looks, tmp_path / "page.html", probe=given))
    cards = browser.find_elements(By.CSS_SELECTOR, "#gallery li")
    assert [card.text.splitlines()[:2] for card in cards] == [
        ["Mass 75 %, Effusion 50 %", "likeliest absent: Edema 25 %"],
        ["none of the labels", "likeliest absent: Effusion 50 %"],
        ["Edema 25 %", "likeliest absent: Effusion 13 %"],
    ]
    said = cards[0].find_element(By.TAG_NAME, "button").get_attribute("title")
    assert said == "Mass 75 %, Effusion 50 %; likeliest absent: Edema 25 %, right, labels Mass, Effusion"
    styles = [card.find_element(By.TAG_NAME, "button").get_attribute("class").split()[-1] for card in cards]
    assert styles == ["right", "wrong", "unknown"]
    assert "All labels right\n1 of 3" in one(browser, "#tiles").text
    heads = [head.text for head in browser.find_elements(By.CSS_SELECTOR, "#table th")]
    assert heads[:5] == ["image", "labels", "likeliest", "probability", "labels right"]
    assert not complaints(browser)


def test_numbers(browser: WebDriver, tmp_path: Path) -> None:
    looks = History(
        tuple(
            remember(epoch, epoch + 1, torch.rand(3, 4, 4), torch.zeros(3).long(), outputs, {})
            for epoch, outputs in enumerate(
                (torch.tensor([40.0, 1.0, 2.0]), torch.tensor([45.23, 0.0123, -3.0]))
            )
        )
    )
    given = Probe(torch.rand(3, 3, 16, 16), torch.tensor([51.0, 2.0, torch.nan]))
    opened(browser, write_report(looks, tmp_path / "page.html", probe=given, settings={"task": "regression"}))
    cards = browser.find_elements(By.CSS_SELECTOR, "#gallery li")
    assert [card.text.splitlines()[0] for card in cards] == [
        "45.2 (true 51.0)",
        "0.0123 (true 2.00)",
        "-3.00",
    ]
    assert all("%" not in card.text and not card.find_elements(By.CSS_SELECTOR, "svg.sign") for card in cards)
    assert "Predictions changed" not in one(browser, "#tiles").text
    assert [option.get_attribute("value") for option in Select(one(browser, "#filter")).options] == ["all"]
    heads = [head.text for head in browser.find_elements(By.CSS_SELECTOR, "#table th")]
    assert heads[:3] == ["image", "true", "output"]
    cards[0].find_element(By.TAG_NAME, "button").click()
    assert one(browser, "#detail-title").text == "Image 1 · true 51.0"
    assert one(browser, "#answer").text == "45.2 (true 51.0)"
    assert not complaints(browser)
