"""``PICTURES``: every picture of a look, by its tag."""

from collections.abc import Callable

from lightning_cam.visualization.animation import draw_animation
from lightning_cam.visualization.canvas import Draw
from lightning_cam.visualization.classes import draw_classes
from lightning_cam.visualization.evolution import draw_evolution
from lightning_cam.visualization.overlay import draw_overlay
from lightning_cam.visualization.scene import Scene

Picture = Callable[[Scene], Draw | None]
PICTURES: dict[str, Picture] = {
    "overlay": draw_overlay,
    "evolution": draw_evolution,
    "classes": draw_classes,
    "animation": draw_animation,
}
"""A picture is a function of a ``Scene``. It is called on a thread of its own while training goes on, under
``torch.no_grad()`` and with all tensors on the host. It states the dtype of the tensors that it makes: the
default one is whatever the training sets.

It returns a function without arguments that draws one ``PIL.Image.Image``, or a list of them, which is shown
as an animation. It returns None where there is nothing to show; a picture of one look does so where the scene
``is_last``, as it was shown at that look. Your own, ``PICTURES["mine"] = my_picture``, becomes ``cam/mine``.
"""
