"""What a measure of faithfulness works on: checked, on the model's device, with target scores at hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor, nn

from lightning_cam.attribution.capture import scoring
from lightning_cam.attribution.config import ModelConfig, TargetLike
from lightning_cam.attribution.resolved_target import check_one_per_image, check_target
from lightning_cam.attribution.running import check_runnable, like, watched
from lightning_cam.checks import check_images, check_labels, plain_labels
from lightning_cam.metrics.removal import Score
from lightning_cam.selectors import describe
from lightning_cam.typing import Images, Saliency, Truth

ROWS = 64  # through the model at once, where nothing is said


@contextmanager
def scored(
    model: nn.Module,
    images: Images,
    saliency: Saliency,
    target: TargetLike,
    labels: Truth | None,
    config: ModelConfig,
) -> Iterator[tuple[Score, Images, Saliency]]:
    """Yields ``(score, images, saliency)``: target scores of changed copies, and what they are copies of.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument does not fit the model or the images.
    """
    check_runnable(model, config)
    check_images(images)
    check_labels(labels, len(images), several=True)
    target = check_target(target)
    check_one_per_image(target, len(images))
    expected = (len(images), *images.shape[2:])
    if not (isinstance(saliency, Tensor) and tuple(saliency.shape) == expected):
        raise ValueError(
            f"saliency: got {describe(saliency)} for images {tuple(images.shape)}; "
            f"give maps {expected} at the images' resolution, such as explanation.saliency."
        )
    broken = (~saliency.isfinite()).flatten(1).any(dim=1).nonzero()
    if len(broken):
        raise ValueError(
            f"saliency: map {int(broken[0])} holds values that are not finite (NaN or inf); mend or drop it."
        )
    images = like(images.detach(), watched(model, config))
    saliency = saliency.detach().to(images.device)
    labels = None if labels is None else plain_labels(labels.to(images.device))
    config = replace(config, max_batch=config.max_batch or ROWS)
    with scoring(model, images, target=target, labels=labels, config=config) as score:
        yield score, images, saliency
