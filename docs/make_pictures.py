"""Makes the pictures of the pages anew, by ``examples/digits.py``; look at them before you commit them.

    python docs/make_pictures.py    # two trainings of a minute, and pages in Chromium

Those of a trained network and of three peers: ``benchmarks/pointing.py`` and ``benchmarks/pictures.py``.
"""

import io
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, ImageEvent

HERE = Path(__file__).parent
MOST_BYTES = 300_000
WIDEST = 1100
KINDS = ("overlay", "evolution", "classes")  # tags of the last step

# What a user pins in TensorBoard, which sorts its groups by name: the own curves first, then a picture.
PINNED = (
    {"plugin": "scalars", "tag": "val_loss"},
    {"plugin": "scalars", "tag": "val_accuracy"},
    {"plugin": "images", "tag": "cam/overlay", "runId": "defaultExperimentId/version_0", "sample": 0},
)

# examples/digits.py, which leaves no look out, however busy the machine is.
EVERY_LOOK = """
from functools import partial
import digits
from lightning_cam import Style
digits.CAMMonitor = partial(digits.CAMMonitor, max_overhead=None, style={style})
digits.main()
"""


def keep(picture: Image.Image, name: str) -> None:
    """Writes a JPEG below the limit."""
    picture = picture.convert("RGB")
    picture.thumbnail((WIDEST, 3000))
    for quality in (88, 80, 70, 60):
        picture.save(HERE / name, quality=quality, optimize=True)
        if (HERE / name).stat().st_size < MOST_BYTES:
            return
    raise SystemExit(f"{name} has {(HERE / name).stat().st_size} bytes; make it smaller.")


def main() -> None:
    """The pictures of ``examples/digits.py``, from its TensorBoard file, and its report."""
    with tempfile.TemporaryDirectory() as folder:
        images = trained(folder, "Style()")
        for kind in KINDS:
            keep(opened(images(f"cam/{kind}")[-1]), f"{kind}.jpg")
        evidence = opened(warned(images("cam/alert")))
        keep(evidence, "shortcut.jpg")
        keep(first_rows(evidence), "shortcut_rows.jpg")
        (report,) = Path(folder).rglob("report.html")
        keep(page(report.as_uri(), 1050, 1250), "report.jpg")
        keep(tensorboard(f"{folder}/lightning_logs"), "tensorboard.jpg")
    with tempfile.TemporaryDirectory() as folder:
        images = trained(folder, "Style(animation=True)")
        (HERE / "animation.webp").write_bytes(images("cam/animation")[-1].encoded_image_string)


def trained(folder: str, style: str) -> Callable[[str], list[ImageEvent]]:
    """A training of the example, as a function that gives what it logged by tag."""
    command = [sys.executable, "-c", EVERY_LOOK.format(style=style), "--root", folder]
    subprocess.run(command, check=True, cwd=HERE.parent / "examples")  # noqa: S603
    logged = EventAccumulator(f"{folder}/lightning_logs/version_0", size_guidance={"images": 0})
    logged.Reload()
    return logged.Images


def opened(event: ImageEvent) -> Image.Image:
    return Image.open(io.BytesIO(event.encoded_image_string))


def warned(shown: list[ImageEvent]) -> ImageEvent:
    """The evidence of the first warning: the first picture of the second look that shows any."""
    second = sorted({event.step for event in shown})[1]
    return next(event for event in shown if event.step == second)


def first_rows(picture: Image.Image) -> Image.Image:
    """Of the evidence the sentence and two of four rows, for the first screen of README."""
    return picture.crop((0, 0, picture.width, round(0.422 * picture.height)))


def tensorboard(logs: str) -> Image.Image:
    """TensorBoard's first screen, with its cards as large as it makes them, and three pinned."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    options = ["--logdir", logs, "--port", str(port), "--samples_per_plugin", "images=1000"]
    server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *options], stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        address = f"http://localhost:{port}/"
        wait_for(f"{address}data/environment")
        return page(f"{address}?pinnedCards={quote(json.dumps(PINNED))}", 1920, 1200, seconds=15)
    finally:
        server.terminate()


def wait_for(address: str, seconds: float = 60) -> None:
    """Until a server answers."""
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()  # noqa: S310 - our own server
            return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def page(address: str, width: int, height: int, seconds: float = 1) -> Image.Image:
    """The upper part of a page, in Chromium, after it had some seconds to load."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1"):
        options.add_argument(option)
    browser = webdriver.Chrome(options=options)
    try:
        browser.set_window_size(width, height)
        browser.get(address)
        time.sleep(seconds)
        return Image.open(io.BytesIO(browser.get_screenshot_as_png()))
    finally:
        browser.quit()


if __name__ == "__main__":
    main()
