"""Arguments of the monitor that will not do."""

import pytest

from lightning_cam import CAMMonitor


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"probe": 0}, ValueError, "probe: got 0; give at least 1"),
        (
            {"probe": "all"},
            TypeError,
            "probe: got 'all'; give a whole number, how many images to choose, or a Probe",
        ),
        ({"shown": 0}, ValueError, "shown: got 0; give at least 1"),
        ({"every_n_epochs": 0}, ValueError, "every_n_epochs: got 0; give at least 1"),
        ({"every_n_epochs": 1.5}, TypeError, "every_n_epochs: got 1.5; give a whole number"),
        ({"dataloader_idx": -1}, ValueError, "dataloader_idx: got -1; give at least 0"),
        ({"max_batch": 0}, ValueError, "max_batch: got 0; give at least 1"),
        ({"method": "grad-cam"}, ValueError, r"method: no method 'grad-cam'; did you mean 'gradcam'\?"),
        ({"method": 3}, TypeError, "method: got 3; give a name or a function"),
        ({"target": "lable"}, ValueError, r"target: no target 'lable'; did you mean 'label'\?"),
        ({"target": -1}, ValueError, "target: class index -1 is negative"),
        ({"opacity": 1.5}, ValueError, r"opacity: got 1.5; give a value in \[0, 1\]"),
        ({"colormap": "infernoo"}, ValueError, r"colormap: no colormap 'infernoo'; did you mean 'inferno'\?"),
        ({"normalization": "imgnet"}, ValueError, "normalization: got 'imgnet'"),
        ({"normalization": ((0.5,), (0.0,))}, ValueError, "normalization: .* std above 0"),
        ({"opacity": None}, ValueError, "opacity: got None"),
        ({"class_names": "cat"}, TypeError, "class_names: got 'cat'; give one name per class, in a list"),
        ({"method": ["gradcam"]}, TypeError, "method: got .*; a monitor has one method"),
        ({"images": 1.5}, TypeError, "images: got 1.5; give a key, an index, a function, or None"),
        ({"scores": 2.5}, TypeError, "scores: got 2.5; give a key"),
        ({"target_layer": 4}, TypeError, "target_layer: got 4; give the name of a submodule"),
        ({"network": 4}, TypeError, "network: got 4; give the name of a submodule, a function"),
        ({"name": ""}, ValueError, "name: got ''; give a prefix"),
    ],
)
def test_wrong_arguments(arguments: dict, error: type[Exception], message: str, unchecked: None) -> None:
    with pytest.raises(error, match=message):
        CAMMonitor(**arguments)
