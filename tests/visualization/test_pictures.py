"""``PICTURES``: when each picture has something to show, where it works, and a picture of the user's own."""

import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.looks import judged
from support.modules import Classifier, loader, trainer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_cam import CAMMonitor
from lightning_cam.callbacks.messages import Messages
from lightning_cam.callbacks.publisher import Publisher
from lightning_cam.callbacks.state import Run
from lightning_cam.data.history import History, remember
from lightning_cam.data.probe import Probe
from lightning_cam.loggers.folder import Folder
from lightning_cam.loggers.publish import Destination
from lightning_cam.visualization.canvas import Draw
from lightning_cam.visualization.classes import draw_classes
from lightning_cam.visualization.evolution import draw_evolution
from lightning_cam.visualization.overlay import draw_overlay
from lightning_cam.visualization.pictures import PICTURES
from lightning_cam.visualization.scene import Scene
from lightning_cam.visualization.style import Style

NAMES = ("cat", "dog", "cow", "hen")


def scene(
    looks: int = 8, labels: tuple[int, ...] | None = (0, 1, 2, 3), drift: float = 0.2, **others: object
) -> Scene:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    history = History()
    for epoch in range(-1, looks - 1):
        cams = torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(epoch + 1))
        statistics = {"drift_last": torch.linspace(0.0, drift, 4)}
        look = remember(epoch, 10 * epoch + 10, cams, torch.arange(4), torch.ones(4), statistics)
        history = history.added(look)
    known = {
        "cams": torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(9)),
        "scores": 5 * torch.eye(4),
        "reasons": torch.zeros(4, dtype=torch.long),
        "history": history,
        "when": "epoch 6 · step 70",
        "asked": "gradcam at layer4 (3 x 3) · target: label",
        "in_fit": True,
        "style": Style(animation=True),
    }
    probe = Probe(images, None if labels is None else torch.tensor(labels), None, NAMES)
    known["history"] = judged(history, probe.labels)
    return Scene(probe, images, **(known | others))


def has(found: Scene) -> set[str]:
    return {name for name, picture in PICTURES.items() if picture(found) is not None}


def test_a_look_in_a_fit_has_every_picture_that_stands_still() -> None:
    assert has(scene()) == {"overlay", "evolution", "classes"}


def test_without_two_classes_there_is_no_picture_of_classes() -> None:
    assert has(scene(labels=None)) == has(scene(labels=(1,) * 4)) == {"overlay", "evolution"}


def test_outside_a_fit_there_is_no_history_to_show() -> None:
    assert has(scene(in_fit=False)) == {"overlay", "classes"}


@pytest.mark.parametrize("looks", [1, 2, 3, 4, 7, 8, 9, 16, 33])
def test_pictures_of_all_looks_are_shown_where_there_are_twice_as_many(looks: int) -> None:
    of_one_look = {"overlay", "classes"} if looks in (1, 2, 4, 8, 16) else {"overlay"}
    assert has(scene(looks)) == of_one_look | ({"evolution"} if looks in (2, 4, 8, 16) else set())


def test_at_the_end_pictures_of_all_looks_are_shown_unless_they_just_were() -> None:
    assert has(scene(5).at_the_end()) == {"evolution", "classes", "animation"}
    assert has(scene(8).at_the_end()) == {"animation"}
    assert has(scene(8, style=Style()).at_the_end()) == set(), "an animation is asked for"
    assert has(scene(1).at_the_end()) == set()
    assert has(scene(5, in_fit=False).at_the_end()) == set()


class ViewsOnly(TorchDispatchMode):
    """Of a tensor parts can be taken; whatever computes raises."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func.overloadpacket.__name__ not in ("select", "slice", "unbind", "alias", "detach"):
            raise AssertionError(f"{func} while a picture is drawn")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", PICTURES)
def test_tensors_are_worked_on_when_the_picture_is_asked_for_and_not_when_it_is_drawn(name: str) -> None:
    looked = scene(8, confusions=(torch.rand(4, 3, 3), torch.rand(4, 3, 3)), labels=(1, 1, 2, 3))
    draw = PICTURES[name](looked.at_the_end() if name == "animation" else looked)
    drawn: list = []
    failures: list[Exception] = []
    before = torch.get_default_dtype()

    def work() -> None:
        try:
            with ViewsOnly():
                drawn.append(draw())
        except Exception as error:  # noqa: BLE001 - raised in the main thread below
            failures.append(error)

    # Switches that a training turns are those of all threads: a worker must not care.
    torch.set_default_dtype(torch.float16)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        torch.set_default_dtype(before)
    assert failures == []
    (picture,) = drawn
    assert isinstance(picture, list) == (name == "animation")
    first = picture[0] if isinstance(picture, list) else picture
    assert first.mode == "RGB"
    np.testing.assert_array_equal(
        np.asarray(first), np.asarray(draw()[0] if isinstance(picture, list) else draw())
    )


# --- words


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All texts that are drawn, in order."""
    from PIL import ImageDraw

    texts: list[str] = []
    text = ImageDraw.ImageDraw.text

    def noting(self: object, place: object, words: str, *args: object, **kwargs: object) -> None:
        texts.append(words)
        text(self, place, words, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noting)
    return texts


def test_a_blank_map_names_the_class_that_it_has_no_evidence_for(said: list[str]) -> None:
    reasons, targets = torch.tensor([4, 3, 0, 4]), torch.tensor([2, 0, 0, 1])
    draw_overlay(scene(reasons=reasons, target_classes=targets))()
    assert [(said[i], said[i + 1]) for i, text in enumerate(said) if text == "no evidence for "] == [
        ("no evidence for ", "cow"),
        ("no evidence for ", "dog"),
    ]
    assert "the gradient is zero" in said


def test_without_a_class_to_name_a_blank_map_says_so_too(said: list[str]) -> None:
    draw_overlay(scene(reasons=torch.tensor([4, 0, 0, 0])))()
    assert said[said.index("no evidence for ") + 1] == "the class"


def test_the_legend_stands_around_its_bar(said: list[str]) -> None:
    draw_overlay(scene())()
    assert [said.count(words) for words in ("none", "strongest in this image")] == [1, 1]


@pytest.mark.parametrize(
    ("looks", "words"), [(9, "changed most since epoch 6"), (2, "changed most since the start")]
)
def test_the_strip_says_since_when_an_image_changed_most(looks: int, words: str, said: list[str]) -> None:
    draw_evolution(scene(looks, is_last=looks == 9))()
    assert words in said, "and it is not cut"


def test_several_looks_of_one_epoch_are_told_apart_by_their_step(said: list[str]) -> None:
    found = scene(4)
    *others, before, last = found.history.looks
    again = History((*others, before, replace(last, epoch=before.epoch)))
    draw_evolution(replace(found, history=again))()
    assert f"changed most since step {before.step}" in said


def test_classes_are_subtracted_with_a_minus_and_a_reason(said: list[str]) -> None:
    # Both cats are taken for a cow; the dog and the cow are answered rightly.
    scores = 5 * torch.eye(4)[[2, 2, 1, 2]]
    draw_classes(scene(labels=(0, 0, 1, 2), scores=scores))()
    first = said.index("maps of ")
    assert said[first : first + 2] == ["maps of ", "cat"]
    second = said.index("- maps of ")
    assert said[second : second + 2] == ["- maps of ", "cow"]
    assert "(mistaken for it, 2 of 2)" in said
    assert "(the next class)" in said


# --- who shows them


def publisher() -> Publisher:
    return Publisher(CAMMonitor(report=False).settings, Run(None, "", True), Messages("cam"))


def test_a_picture_of_the_users_own_is_shown_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def brightest(found: Scene) -> Draw | None:
        if found.is_last:
            return None
        tile = (255 * found.images.amax(dim=(0, 1)).clamp(0, 1)).byte().cpu().numpy()

        def draw() -> Image.Image:
            threads.append(threading.current_thread())
            return Image.fromarray(tile)

        return draw

    monkeypatch.setitem(PICTURES, "brightest", brightest)
    monkeypatch.setitem(PICTURES, "moving", lambda found: lambda: [Image.new("RGB", (8, 8))] * 2)
    show = publisher()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is lost is told as a warning
        show.show(scene(4), Destination((), Folder(tmp_path, "cam"), 4, 70, True, True))
        show.flush()
    made = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert made == [
        "cam/brightest/epoch=004-step=000070.jpg",
        "cam/classes/epoch=004-step=000070.jpg",
        "cam/evolution/epoch=004-step=000070.jpg",
        "cam/moving.gif",
        "cam/overlay/epoch=004-step=000070.jpg",
    ]
    assert threads != []
    assert threading.main_thread() not in threads


def test_a_picture_of_the_users_own_in_a_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def noting(found: Scene) -> Draw | None:
        seen.append((found.when, found.in_fit, found.is_last, len(found.history)))
        return None

    monkeypatch.setitem(PICTURES, "noting", noting)
    fitted = trainer(tmp_path, callbacks=[CAMMonitor(probe=6, report=False, shortcuts=None)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted.fit(Classifier(), loader(), loader(seed=1))
    assert seen == [
        ("rehearsal", True, False, 1),
        ("rehearsal", True, True, 3),
        ("epoch 0 · step 2", True, False, 2),
        ("epoch 1 · step 5", True, False, 3),
        ("epoch 1 · step 5", True, True, 3),
    ]


def test_a_broken_picture_is_met_in_the_sanity_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(found: Scene) -> Draw | None:
        raise ZeroDivisionError("planted")

    monkeypatch.setitem(PICTURES, "broken", broken)
    fitted = trainer(tmp_path, callbacks=[CAMMonitor(probe=6, report=False, shortcuts=None)])
    with pytest.raises(ZeroDivisionError, match="planted"):
        fitted.fit(Classifier(), loader(), loader(seed=1))


def test_a_rehearsal_draws_all_and_shows_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for name, picture in list(PICTURES.items()):

        def noting(found: Scene, name: str = name, picture: Callable = picture) -> Draw | None:
            draw = picture(found)
            return draw and (lambda: (drawn.append(name), draw())[1])

        monkeypatch.setitem(PICTURES, name, noting)
    show = publisher()
    show.rehearse(scene(1))
    show.flush()
    assert drawn == ["overlay", "evolution", "classes", "classes", "animation"]


@pytest.mark.parametrize("writes", [True, False])
def test_a_guessed_range_is_told_where_it_is_shown(writes: bool, tmp_path: Path) -> None:
    images = 3 * torch.rand(4, 3, 32, 32)
    for found, expected in ((scene(), 0), (replace(scene(), images=images), int(writes))):
        show = publisher()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            show.show(found, Destination((), Folder(tmp_path, "cam"), 0, 0, writes, True))
            show.flush()
        assert len(warned) == expected
        assert all("normalization is not known" in str(note.message) for note in warned)
    assert bool(list(tmp_path.rglob("*.jpg"))) is writes


class Unlabelled(Classifier):
    def validation_step(self, batch: object, batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        self(batch[0])


def no_labels(batch: object) -> None:
    return None


def test_without_labels_the_header_says_what_is_explained(tmp_path: Path, said: list[str]) -> None:
    images = torch.rand(12, 3, 16, 16)
    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images), batch_size=6)
    monitor = CAMMonitor(probe=6, report=False, shortcuts=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer(tmp_path, callbacks=[monitor]).validate(
            Unlabelled(
                nn.Sequential(
                    nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
                )
            ),
            batches,
        )
    assert any(text.endswith("target: predicted class (no labels)") for text in said)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["images", "bytes", "signals"])
def test_the_default_dtype_of_the_training_changes_no_pixel(name: str, dtype: torch.dtype, kind: str) -> None:
    found = replace(scene(8), in_fit=True, is_last=name == "animation")
    if kind == "bytes":
        found = replace(found, images=(255 * found.images).byte())
    if kind == "signals":
        images = found.images.flatten(2)[:, :, :60]
        probe = Probe(images, found.probe.labels)
        looks = tuple(replace(look, scaled=look.scaled.flatten(1)) for look in found.history.looks)
        changes = {"images": images, "probe": probe, "cams": found.cams.flatten(1), "confusions": None}
        found = replace(found, history=History(looks), **changes)

    def pixels() -> list[bytes]:
        draw = PICTURES[name](replace(found))  # a copy has nothing prepared
        drawn = draw()
        return [one.tobytes() for one in (drawn if isinstance(drawn, list) else [drawn])]

    expected = pixels()
    torch.set_default_dtype(dtype)
    try:
        assert pixels() == expected
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_picture_that_fails_later_is_lost_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_later(found: Scene) -> Draw | None:
        if found.when != "rehearsal":
            raise ZeroDivisionError("planted")
        return None

    monkeypatch.setitem(PICTURES, "broken", fails_later)
    monitor = CAMMonitor(probe=6, report=False, shortcuts=None)
    fitted = trainer(tmp_path, callbacks=[monitor])
    with pytest.warns(
        UserWarning, match=r"cam/broken of epoch 0 is lost \(ZeroDivisionError: planted\)"
    ) as told:
        fitted.fit(Classifier(), loader(), loader(seed=1))
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]
    assert not [note for note in told if "switched itself off" in str(note.message)]
    assert len(list(tmp_path.rglob("overlay/*.jpg"))) == 2


def test_a_weak_map_says_so_and_what_that_means(said: list[str]) -> None:
    cams = torch.rand(4, 3, 3) * torch.tensor([1.0, 1.0, 1.0, 0.0])[:, None, None]
    cams[0, 0, 0], cams[3, 1, 1] = 1.0, 0.03
    draw_overlay(scene(cams=cams))()
    assert said.count("weak: 3 %") == 1
    assert "weak: drawn fainter, below 10 % of the strongest map of this look" in said
    said.clear()
    draw_overlay(scene())()
    assert not any(text.startswith("weak") for text in said)


@pytest.mark.parametrize(("wrong", "words"), [(1, "1 error"), (4, "4 errors"), (7, "4 of 7 errors shown")])
def test_how_many_errors_there_are_is_said(wrong: int, words: str, said: list[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    images, cams = torch.rand(8, 3, 32, 32, generator=generator), torch.rand(8, 3, 3, generator=generator)
    answers = torch.tensor([1] * wrong + [0] * (8 - wrong))
    known = {
        "images": images,
        "cams": cams,
        "scores": 5 * torch.eye(4)[answers],
        "reasons": torch.zeros(8, dtype=torch.long),
        "confusions": (cams.flip(1), cams - cams.flip(1)),
    }
    given = replace(scene(), probe=Probe(images, torch.zeros(8).long(), None, NAMES), **known)
    draw_overlay(given)()
    assert words in said
    assert said.count("contrast") == min(wrong, 4)
