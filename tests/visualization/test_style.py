"""``Style`` as users give it, also in a configuration file."""

from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from lightning_cam.visualization.style import Style

WRONG_ARGUMENTS = [
    ({"shown": 0}, ValueError, "shown: got 0; give at least 1"),
    ({"shown": 2.5}, TypeError, "shown: got 2.5; give a whole number"),
    ({"shown": True}, TypeError, "shown: got True; give a whole number"),
    ({"colormap": "infreno"}, ValueError, "colormap: no colormap 'infreno'; did you mean 'inferno'?"),
    ({"colormap": "a colormap"}, ValueError, "colormap: no colormap 'a colormap'; give the name of one of"),
    ({"colormap": None}, TypeError, "colormap: got None; give the name of one of matplotlib's"),
    ({"opacity": 1.5}, ValueError, r"opacity: got 1.5; give 'evidence', 'constant' or a value in \[0, 1\]"),
    ({"opacity": True}, ValueError, r"opacity: got True; give 'evidence', 'constant' or a value in \[0, 1\]"),
    (
        {"opacity": "half"},
        ValueError,
        r"opacity: got 'half'; give 'evidence', 'constant' or a value in \[0, 1\]",
    ),
    ({"color_scale": "epoch"}, ValueError, "color_scale: got 'epoch'; give 'map' or 'run'"),
    ({"foreground": 0}, ValueError, r"foreground: got 0; give a share of the map's maximum in \(0, 1\]"),
    ({"foreground": 1.5}, ValueError, "foreground: got 1.5; give a share"),
    ({"foreground": True}, ValueError, "foreground: got True; give a share"),
    ({"foreground": "half"}, ValueError, "foreground: got 'half'; give a share"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("arguments", "kind", "message"), WRONG_ARGUMENTS, ids=str)
def test_a_wrong_style_is_refused_with_its_remedy(arguments: dict, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        Style(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"shown": 1, "opacity": 0, "foreground": 1},
        {"opacity": "constant", "colormap": "turbo"},
        {"opacity": 1.0, "foreground": 0.01, "color_scale": "run", "colormap": "RdBu_r"},
    ],
    ids=str,
)
def test_the_limits_are_accepted(arguments: dict) -> None:
    assert vars(Style(**arguments)) == {**vars(Style()), **arguments}


def test_the_ends_of_the_colour_table_in_words() -> None:
    said = {
        (colormap, scale): Style(colormap=colormap, color_scale=scale).ends
        for colormap in ("inferno", "RdBu_r")
        for scale in ("map", "run")
    }
    assert said == {
        ("inferno", "map"): ("none", "strongest in this image"),
        ("inferno", "run"): ("none", "strongest in this image over the run"),
        ("RdBu_r", "map"): ("against", "for (ends: strongest in this image)"),
        ("RdBu_r", "run"): ("against", "for (ends: strongest in this image over the run)"),
    }


class Monitor:
    """Takes a style as a callback does.

    Args:
        style: How pictures are drawn.
    """

    def __init__(self, style: Style = Style(), name: str = "cam") -> None:  # noqa: B008 - frozen
        self.style, self.name = style, name


SETTINGS = {
    "shown": 8,
    "colormap": "RdBu_r",
    "opacity": 0.25,
    "color_scale": "run",
    "foreground": 0.6,
    "animation": True,
}


def parser() -> ArgumentParser:
    made = ArgumentParser(exit_on_error=False)
    made.add_argument("--config", action="config")
    made.add_class_arguments(Monitor, "monitor")
    return made


def made_by(parser: ArgumentParser, arguments: list[str]) -> Monitor:
    make = (
        getattr(parser, "instantiate", None) or parser.instantiate_classes
    )  # its name before jsonargparse 4.49
    return make(parser.parse_args(arguments)).monitor


@pytest.mark.parametrize(
    "arguments",
    [
        [f"--monitor.style.{name}={value}" for name, value in SETTINGS.items()],
        [f"--config={yaml.safe_dump({'monitor': {'style': SETTINGS}})}"],
    ],
    ids=["flags", "file"],
)
def test_a_style_on_a_command_line_and_in_a_file(arguments: list[str], tmp_path: Path) -> None:
    made = parser()
    parsed = made.parse_args(arguments)
    assert made_by(made, arguments).style == Style(**SETTINGS)

    # What is printed reads back to the same.
    printed = tmp_path / "config.yaml"
    printed.write_text(made.dump(parsed))
    assert yaml.safe_load(printed.read_text())["monitor"]["style"] == SETTINGS
    assert made_by(parser(), [f"--config={printed}"]).style == Style(**SETTINGS)


def test_the_help_has_the_words_of_every_setting() -> None:
    told = " ".join(parser().format_help().split())
    for words in (
        "How many of the probe images are drawn, the first ones; statistics use all.",
        'Name of a matplotlib colormap, such as "turbo"; a diverging one',
        "it follows the map, from 0 where there is no",
        "colours run to each map's own maximum",
        "at which its contour is drawn over the image; None",
    ):
        assert words in told
