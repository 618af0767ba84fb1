"""What becomes of saliency maps when a copy of the model forgets what it learnt."""

import copy
from collections.abc import Callable, Sequence
from itertools import chain, pairwise

import torch
from torch import Tensor, nn

from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.preserve import leaving_no_trace
from lightning_cam.attribution.running import check_runnable, like
from lightning_cam.checks import check_images, check_whole
from lightning_cam.registry import did_you_mean
from lightning_cam.selectors import describe
from lightning_cam.typing import Cams, Images, PerImage

SaliencyOf = Callable[[nn.Module, Tensor], Tensor]  # (model, images) -> maps (n, h, w)


def parameter_randomization(
    model: nn.Module,
    images: Images,
    saliency_of: SaliencyOf,
    *,
    stages: int | Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, PerImage]:
    """How alike the maps stay while a copy of the model forgets what it learnt: rank correlation, in [-1, 1],
    near 0 is good.

    From the last module to the first, each parameter's values are put in random order, and stay so while
    earlier modules follow. A map that does not change does not depend on what was learnt. (The authors draw
    new initial weights; a random order keeps each parameter's values, so that activations stay in the range
    that later normalizations expect, whatever its initialization was. Values that are all equal, as untrained
    biases are, do not change.) Last is what was defined last.

    Args:
        saliency_of: Function ``(model, images) -> (n, h, w)``; ask it for a fixed class, as the prediction
            changes with the model.
        stages: After which modules to look: names of modules, in the order in which they are to forget, each
            with all within it; or into how many groups of about equal length to divide the modules with
            parameters, named by the last to forget; None looks after each.
        seed: Of the random orders.

    Returns:
        Spearman's rank correlation with the maps of the model as it is, by stage; NaN where a map is constant
        or holds NaN.

    Raises:
        ValueError: No such module or none with parameters, or ``saliency_of`` does not return a map per
            image.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3))
        >>> parameter_randomization(model, torch.rand(1, 1, 8, 8), lambda model, images: images[:, 0])
        {'2': tensor([1.]), '0': tensor([1.])}

    Source: Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, cascading randomization.
        https://arxiv.org/abs/1810.03292
    """
    # How it is run is the business of ``saliency_of``: only what is no module at all is refused.
    check_runnable(model, ModelConfig(network=lambda module, images: None))
    check_images(images)
    generator = torch.Generator().manual_seed(seed)
    with leaving_no_trace(model):
        images, forgetful = like(images.detach(), model), copy.deepcopy(model)
        groups = _stages(forgetful, stages)
        ranks = _ranks(_maps(saliency_of, forgetful, images))
        correlations = {}
        for name, modules in groups.items():
            for parameter in chain.from_iterable(module.parameters(recurse=False) for module in modules):
                order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                with torch.no_grad():  # of a copy that is ours
                    parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
            correlations[name] = _correlation(ranks, _ranks(_maps(saliency_of, forgetful, images)))
    return correlations


def _stages(model: nn.Module, stages: int | Sequence[str] | None) -> dict[str, list[nn.Module]]:
    """Modules with parameters of their own, last first, in groups by name."""
    own = {name: module for name, module in model.named_modules() if list(module.parameters(recurse=False))}
    names = list(own)[::-1]
    if not names:
        raise ValueError(f"model: {type(model).__name__} has no parameters; there is nothing to forget.")
    if stages is None or isinstance(stages, int):
        if stages is not None:
            check_whole("stages", stages, 1, "or None for every module with parameters")
        count = len(names) if stages is None else min(stages, len(names))
        edges = [len(names) * i // count for i in range(count + 1)]
        groups = {names[last - 1]: names[first:last] for first, last in pairwise(edges)}
    else:
        groups = {stage: [name for name in names if f"{name}.".startswith(f"{stage}.")] for stage in stages}
        for stage, inside in groups.items():
            if not inside:
                raise ValueError(
                    f"stages: no module {stage!r} with parameters{did_you_mean(stage, names) or '.'}"
                )
    return {name or type(model).__name__: [own[inside] for inside in group] for name, group in groups.items()}


def _maps(saliency_of: SaliencyOf, model: nn.Module, images: Images) -> Cams:
    maps = saliency_of(model, images)
    if not (isinstance(maps, Tensor) and maps.ndim > 1 and len(maps) == len(images)):
        raise ValueError(
            f"saliency_of: returned {describe(maps)} for {len(images)} images; "
            "return one map per image, (n, h, w)."
        )
    return maps.detach()


def _ranks(maps: Cams) -> Tensor:
    """Ranks (n, pixels) around their mean, as shares of the pixels; equal values share theirs; NaN where a
    map has no order.
    """
    values = maps.flatten(1)
    values = values.to(torch.promote_types(values.dtype, torch.float32)).contiguous()
    ordered = values.sort(dim=1).values
    ranks = torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)
    has_order = ordered[:, -1:] > ordered[:, :1]  # NaN comes last
    return torch.where(has_order, ranks / (2 * values.shape[1]) - 0.5, torch.nan)


def _correlation(ranks: Tensor, others: Tensor) -> PerImage:
    return (ranks * others).sum(dim=1) / (ranks.square().sum(dim=1) * others.square().sum(dim=1)).sqrt()
