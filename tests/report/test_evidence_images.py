"""The sheets of findings that a report shows."""

import io

import torch
from PIL import Image

from lightning_cam.report.evidence_images import MOST_SHEETS, EvidenceImages


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
