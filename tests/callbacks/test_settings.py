"""Arguments of the monitor that will not do."""

from collections.abc import Callable

import pytest

from lightning_cam import CAMMonitor, Inputs, Style


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"probe": 0}, ValueError, "probe: got 0; give at least 1"),
        (
            {"probe": "all"},
            TypeError,
            "probe: got 'all'; give a whole number, how many images to choose, a list of dataset indices, or a Probe",
        ),
        (lambda: {"style": Style(shown=0)}, ValueError, "shown: got 0; give at least 1"),
        ({"every_n_epochs": 0}, ValueError, "every_n_epochs: got 0; give at least 1"),
        ({"every_n_epochs": 1.5}, TypeError, "every_n_epochs: got 1.5; give a whole number"),
        (
            lambda: {"inputs": Inputs(dataloader_idx=-1)},
            ValueError,
            "dataloader_idx: got -1; give at least 0",
        ),
        ({"max_batch": 0}, ValueError, "max_batch: got 0; give at least 1"),
        ({"method": "grad-cam"}, ValueError, r"method: no method 'grad-cam'; did you mean 'gradcam'\?"),
        ({"method": 3}, TypeError, "method: got 3; give a name or a function"),
        (
            {"target": "lable", "class_names": ["a", "b"]},
            ValueError,
            r"no target 'lable'; did you mean 'label'\?",
        ),
        ({"target": -1}, ValueError, "target: class index -1 is negative"),
        (
            lambda: {"style": Style(opacity=1.5)},
            ValueError,
            r"opacity: got 1.5; give 'evidence', 'constant' or a value in \[0, 1\]",
        ),
        (
            lambda: {"style": Style(colormap="infernoo")},
            ValueError,
            r"colormap: no colormap 'infernoo'; did you mean 'inferno'\?",
        ),
        ({"normalization": "imgnet"}, ValueError, "normalization: got 'imgnet'"),
        ({"normalization": ((0.5,), (0.0,))}, ValueError, "normalization: .* std above 0"),
        (lambda: {"style": Style(opacity=None)}, ValueError, "opacity: got None"),
        ({"class_names": "cat"}, TypeError, "class_names: got 'cat'; give one name per class, in a list"),
        ({"method": ["gradcam"]}, TypeError, "method: got .*; a monitor has one method"),
        (
            lambda: {"inputs": Inputs(images=1.5)},
            TypeError,
            "images: got 1.5; give a key, an index, a function, or None",
        ),
        (lambda: {"inputs": Inputs(scores=2.5)}, TypeError, "scores: got 2.5; give a key"),
        ({"target_layer": 4}, TypeError, "target_layer: got 4; give the name of a submodule"),
        ({"network": 4}, TypeError, "network: got 4; give the name of a submodule, a function"),
        ({"inputs": {"images": 0}}, TypeError, "inputs: got {'images': 0}; give Inputs"),
        ({"style": "dark"}, TypeError, "style: got 'dark'; give Style"),
        ({"shortcuts": ["border"]}, TypeError, r"shortcuts: got \['border'\]; give ShortcutTests"),
        ({"report": "yes"}, TypeError, "report: got 'yes'; give True or False"),
        ({"persist_probe": 1}, TypeError, "persist_probe: got 1; give True or False"),
        ({"name": ""}, ValueError, "name: got ''; give a prefix"),
    ],
)
def test_wrong_arguments(
    arguments: dict | Callable, error: type[Exception], message: str, unchecked: None
) -> None:
    with pytest.raises(error, match=message):
        CAMMonitor(**(arguments() if callable(arguments) else arguments))
