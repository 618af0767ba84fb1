"""Rows of ``LOGGERS``: which row a logger gets, what a row leaves to files, a row of the user's own."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lightning_cam.loggers.backends import BUILT_IN, LOGGERS, Backend, Owner, backend_of, show, show_gif, tell
from lightning_cam.loggers.folder import Folder
from lightning_cam.loggers.publish import Destination, publish, publish_animation, publish_text

PICTURE = Image.new("RGB", (40, 30), (200, 0, 0))


class Mine:
    """A logger of the user's own, which has nothing that is known."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int]] = []


class Derived(Mine):
    """As vendors have them."""


def keep(logger: Mine, tag: str, picture: Any, step: int) -> None:
    logger.taken.append((tag, step))


def keep_gif(logger: Mine, tag: str, gif: bytes, size: tuple[int, int], step: int) -> None:
    assert gif.startswith(b"GIF8")
    assert size == PICTURE.size
    logger.taken.append((tag, step))


def experiment(**methods: Any) -> SimpleNamespace:
    return SimpleNamespace(experiment=SimpleNamespace(**methods))


LOOKS_LIKE = {
    "tensorboard": experiment(add_image=lambda tag, image, step, dataformats: None),
    "wandb": SimpleNamespace(log_image=lambda key, images, step, caption: None),
    "mlflow": experiment(log_image=lambda run_id, image, key, step: None),
    "comet": experiment(log_image=lambda image_data, name, step: None),
    "litlogger": experiment(log_media=lambda name, path, step, caption: None),
}


@pytest.mark.parametrize("name", [row.name for row in BUILT_IN])
def test_every_row_is_known_by_what_its_logger_can_do(name: str) -> None:
    assert backend_of(LOOKS_LIKE[name]) is LOGGERS[name]
    assert LOGGERS[name].name == name


@pytest.mark.parametrize("name", [row.name for row in BUILT_IN if row.name != "litlogger"])
def test_a_logger_that_takes_pictures_alone_leaves_texts_and_animations_to_files(name: str) -> None:
    # LitLogger has one method for all of them.
    assert tell(LOOKS_LIKE[name], "cam/findings", "text", 0) is False
    assert show_gif(LOOKS_LIKE[name], "cam/animation", b"GIF8", (1, 1), 0) is False


def test_arguments_tell_methods_of_one_name_apart() -> None:
    assert backend_of(experiment(log_image=lambda image: None)) is None
    assert backend_of(experiment(log_image=lambda *args, **kwargs: None)) is None


@pytest.mark.parametrize("kind", [Mine, Derived])
def test_a_row_of_the_users_own(kind: type[Mine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = kind()
    assert show(logger, "cam/overlay", PICTURE, 3) is False
    monkeypatch.setitem(LOGGERS, "mine", Backend("mine", Mine, keep))
    destination = Destination((logger,), Folder(tmp_path, "cam"), 2, 7, True, True)
    assert publish(destination, "cam/overlay", PICTURE) == ""
    publish_text(destination, "cam/findings", "a text")
    publish_animation(destination, "cam/animation", [PICTURE] * 2)
    assert logger.taken == [("cam/overlay", 7)]
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert found == ["cam/animation.gif", "cam/findings.md"]


def test_a_row_that_takes_all_leaves_nothing_to_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOGGERS, "mine", Backend("mine", Mine, keep, keep, keep_gif))
    logger = Mine()
    destination = Destination((logger,), Folder(tmp_path, "cam"), 2, 7, True, True)
    publish(destination, "cam/overlay", PICTURE)
    publish_text(destination, "cam/findings", "a text")
    publish_animation(destination, "cam/animation", [PICTURE] * 2)
    assert logger.taken == [("cam/overlay", 7), ("cam/findings", 7), ("cam/animation", 7)]
    assert not list(tmp_path.iterdir())


def test_a_users_row_by_a_method_comes_before_those_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Backend("mine", Owner("experiment", "add_image"), keep)
    monkeypatch.setitem(LOGGERS, "mine", own)
    assert backend_of(LOOKS_LIKE["tensorboard"]) is own
    assert backend_of(LOOKS_LIKE["wandb"]) is LOGGERS["wandb"]


def test_a_built_in_row_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Backend("comet", LOGGERS["comet"].owner, keep)
    monkeypatch.setitem(LOGGERS, "comet", own)
    assert backend_of(LOOKS_LIKE["comet"]) is own


def test_the_nearest_class_decides_whichever_row_came_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Derived, Mine):
        monkeypatch.setitem(LOGGERS, kind.__name__, Backend(kind.__name__, kind, keep))
    assert [getattr(backend_of(kind()), "name", None) for kind in (Derived, Mine)] == ["Derived", "Mine"]


def test_no_package_of_a_logger_is_loaded_by_the_table() -> None:
    """Of the package nothing but ``loggers``, which knows neither Lightning nor any logger's package."""
    code = """
import sys, types
package = types.ModuleType("lightning_cam")
package.__path__ = [sys.argv[1]]
sys.modules["lightning_cam"] = package
import lightning_cam.loggers.publish
others = {"tensorboard", "wandb", "mlflow", "comet_ml", "litlogger", "pytorch_lightning", "lightning", "torch"}
loaded = others & {name.partition(".")[0] for name in sys.modules}
assert not loaded, loaded
"""
    package = Path(__file__).parents[2] / "lightning_cam"
    subprocess.run([sys.executable, "-c", code, str(package)], check=True)  # noqa: S603 - our own code
