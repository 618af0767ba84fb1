"""What a map costs beside the inference forward of the same images, and how far it is from its equation: ours and three peers'.

    python benchmarks/methods.py                                                  # about half an hour on two CPU cores
    python benchmarks/methods.py --models resnet18 --methods scorecam --rounds 3  # methods that are named run on every model
    python benchmarks/methods.py --device cuda --json figures.json                # the raw figures too

One table a model; a cell is time / peak of tensor memory / largest deviation. Time and memory are ratios to inference: medians over
rounds in which inference, ours and the peers follow one another; what a library keeps in NumPy is no tensor memory. Deviation is
that of the first image's raw map from the float64 twin in tests/reference/equations.py, as a share of the twin's peak. Weights are random,
and so are the images. Everyone explains the same class at the same layer, from a copy of the model of their own, in eval mode, with
as many images at once.
"""

import argparse
import importlib
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from io import StringIO
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from side_by_side import peak_bytes, seconds, surroundings
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lightning_cam import explain

Maps = Tensor | np.ndarray  # (n, h, w), or (n, methods, h, w) of several methods at once

GRADIENT = ["gradcam", "gradcam++", "xgradcam", "hirescam", "gradcam-elementwise", "layercam"]
TOGETHER = "the six above together"
CHEAP = [*GRADIENT, TOGETHER, "eigencam", "fem", "kpcacam", "shapleycam"]
EXPENSIVE = ["smoothgradcam++", "ablationcam", "scorecam"]  # several passes an image, or several a channel
NOISY_COPIES = 10

LAYERS = {
    "resnet18": "layer4",
    "resnet50": "layer4",
    "convnext_tiny": "features",
    "vit_b_16": "encoder.layers.encoder_layer_11.ln_1",
    "alexnet": "features.11",
    "vgg16": "features.29",
}
ROWS = {  # unless methods are named
    "resnet18": [*CHEAP, *EXPENSIVE],
    "resnet50": [*CHEAP, "smoothgradcam++", "ablationcam"],
    "convnext_tiny": [*CHEAP, "smoothgradcam++"],
    "vit_b_16": [*CHEAP, "smoothgradcam++"],
    "alexnet": [*GRADIENT, TOGETHER],
    "vgg16": [*GRADIENT, TOGETHER],
}


# --- What is asked of every library -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Case:
    """A library's own copy of the model, and the question.

    Args:
        batch: How many masked or ablated copies may go through the model at once, where a library has them.
    """

    model: nn.Module
    layer: str
    images: Tensor
    target: int
    batch: int

    @property
    def module(self) -> nn.Module:
        return self.model.get_submodule(self.layer)

    @property
    def has_tokens(self) -> bool:
        return isinstance(self.model, torchvision.models.VisionTransformer)


def to_map(tokens: Tensor) -> Tensor:
    """A class token and patches (n, 1 + h*w, k) as (n, k, h, w); what is a map stays one."""
    if tokens.ndim == 4:
        return tokens
    side = isqrt(tokens.shape[1] - 1)
    return tokens[:, 1:].unflatten(1, (side, side)).movedim(-1, 1)


def ours(case: Case, method: str) -> Maps:
    found = explain(
        case.model,
        case.images,
        method=list(GRADIENT) if method == TOGETHER else method,
        target=case.target,
        target_layer=case.layer,
        max_batch=case.batch if method == "scorecam" else None,
    )
    return torch.stack([one.cams for one in found.values()], dim=1) if isinstance(found, dict) else found.cams


PYTORCH_GRAD_CAM = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "xgradcam": "XGradCAM",
    "hirescam": "HiResCAM",
    "gradcam-elementwise": "GradCAMElementWise",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
    "fem": "FEM",
    "kpcacam": "KPCA_CAM",
    "shapleycam": "ShapleyCAM",
    "ablationcam": "AblationCAM",
    "scorecam": "ScoreCAM",
}
SIGNED = ["hirescam", "eigencam", "kpcacam", "fem"]


def pytorch_grad_cam(case: Case, method: str) -> Maps:
    library = importlib.import_module("pytorch_grad_cam")
    kind = getattr(library, PYTORCH_GRAD_CAM[method])
    raw: list[np.ndarray] = []

    def get_cam_image(self: Any, *arguments: Any) -> np.ndarray:
        raw.append(kind.get_cam_image(self, *arguments))
        return raw[-1]

    options = (
        {"ablation_layer": library.AblationLayerVit()} if method == "ablationcam" and case.has_tokens else {}
    )
    keeping = type(
        kind.__name__, (kind,), {"get_cam_image": get_cam_image}
    )  # the call itself returns scaled maps only
    cam = keeping(case.model, [case.module], reshape_transform=to_map if case.has_tokens else None, **options)
    cam.batch_size = case.batch
    try:
        with redirect_stderr(StringIO()):  # progress bars
            cam(
                case.images,
                [library.utils.model_targets.ClassifierOutputTarget(case.target)] * len(case.images),
            )
    finally:
        for handle in cam.activations_and_grads.handles:  # its own release() fails for some layers
            handle.remove()
    return raw[0] if method in SIGNED else raw[0].clip(min=0)  # as the call itself goes on


TORCHCAM = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMpp",
    "xgradcam": "XGradCAM",
    "layercam": "LayerCAM",
    "smoothgradcam++": "SmoothGradCAMpp",
    "scorecam": "ScoreCAM",
}


def torchcam(case: Case, method: str) -> Maps:
    kind = getattr(importlib.import_module("torchcam.methods"), TORCHCAM[method])
    options = {"scorecam": {"batch_size": case.batch}, "smoothgradcam++": {"num_samples": NOISY_COPIES}}.get(
        method, {}
    )
    with kind(
        case.model, case.layer, reshape_transform=to_map if case.has_tokens else None, **options
    ) as extractor:
        with torch.inference_mode(method == "scorecam"):
            scores = case.model(case.images)
        return extractor(case.target, scores, normalized=False)[0]


CAPTUM = {"gradcam": "LayerGradCam", "hirescam": "LayerGradientXActivation"}


def captum(case: Case, method: str) -> Maps:
    if method == "gradcam" and case.has_tokens:
        raise ValueError(
            "LayerGradCam takes dimension 1 for the channels; of tokens (n, t, k) it makes no map."
        )
    attribution = getattr(importlib.import_module("captum.attr"), CAPTUM[method])(case.model, case.module)
    if method == "gradcam":
        return attribution.attribute(case.images, target=case.target, relu_attributions=True)[:, 0]
    return to_map(attribution.attribute(case.images, target=case.target)).sum(dim=1)


OURS = "lightning_cam"
PEERS: dict[str, tuple[Callable[[Case, str], Maps], dict[str, str]]] = {
    "pytorch-grad-cam": (pytorch_grad_cam, PYTORCH_GRAD_CAM),
    "torchcam": (torchcam, TORCHCAM),
    "captum": (captum, CAPTUM),
}
DISTRIBUTIONS = {"pytorch-grad-cam": "grad-cam", "torchcam": "torchcam", "captum": "captum"}
OWN_NOISE = [("torchcam", "smoothgradcam++")]  # no twin knows it
LARGEST_FOR_TWIN = {
    "scorecam": 96
}  # pixels a side: the twin's loops go over every pixel of every channel's mask


# --- How far a map is from its equation -------------------------------------------------------------------------------------------


def twin(case: Case, method: str) -> np.ndarray | None:
    """The first image's map (h, w) by the book, (methods, h, w) of several methods; None where the book has no such equation."""
    book, facts = by_the_book(), by_own_hooks(case)
    if method == TOGETHER:
        return np.stack([book.METHODS[name](facts) for name in GRADIENT])
    if (
        method == "shapleycam"
    ):  # the whole second derivative is too large here, its product with the activations will do
        return book.METHODS["gradcam"](facts._replace(gradients=facts.gradients - curvature_along(case) / 2))
    return book.METHODS[method](facts) if method in book.METHODS else None


def by_the_book() -> Any:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    try:
        return importlib.import_module("reference.equations")
    finally:
        sys.path.pop(0)


def by_own_hooks(case: Case) -> Any:
    """What the book may know of the first image, in float64, without anything of the package."""
    double = replace(case, model=deepcopy(case.model).double(), images=case.images[:1].double())
    activations, gradients = activations_and_gradients(double, double.images)
    # What precedes the layer is replaced, and may run on little; a transformer takes one size only.
    little = double.images if case.has_tokens else double.images[..., :32, :32]

    def score(image: np.ndarray) -> float:
        with torch.no_grad():
            return float(double.model(torch.from_numpy(image)[None].to(double.images))[0, case.target])

    def tail(values: np.ndarray) -> float:
        with torch.no_grad(), putting(double, torch.from_numpy(values)[None].to(double.images)):
            return float(double.model(little)[0, case.target])

    def gradients_at(image: np.ndarray) -> np.ndarray:
        return activations_and_gradients(double, torch.from_numpy(image)[None].to(double.images))[1]

    def curvature() -> np.ndarray:
        raise ValueError(
            "curvature: the whole second derivative is too large here; take its product with the activations."
        )

    image = double.images[0].cpu().numpy()
    return by_the_book().Facts(image, activations, gradients, score, tail, gradients_at, curvature)


def activations_and_gradients(case: Case, image: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(k, h, w) at the layer."""
    outputs: list[Tensor] = []

    def keep(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()  # a ReLU in place would change what is kept

    handle = case.module.register_forward_hook(keep)
    score = case.model(image)[0, case.target]
    handle.remove()
    (gradients,) = torch.autograd.grad(score, outputs)
    return to_map(outputs[0].detach())[0].cpu().numpy(), to_map(gradients)[0].cpu().numpy()


@contextmanager
def putting(case: Case, values: Tensor) -> Iterator[None]:
    """The layer's output is replaced by a map; a class token stays."""

    def put(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        return (
            torch.cat([output[:, :1], values.movedim(1, -1).flatten(1, 2)], dim=1)
            if output.ndim == 3
            else values.clone()
        )

    handle = case.module.register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def curvature_along(case: Case) -> np.ndarray:
    """``H A`` (k, h, w): the second derivative of the first image's score, times the activations, in float64."""
    double = replace(case, model=deepcopy(case.model).double(), images=case.images[:1].double())
    values = (
        torch.from_numpy(activations_and_gradients(double, double.images)[0])[None]
        .to(double.images)
        .requires_grad_()
    )
    with (
        putting(double, values),
        sdpa_kernel(SDPBackend.MATH),
    ):  # only the plain attention has a second derivative
        score = double.model(double.images)[0, case.target]
        (gradients,) = torch.autograd.grad(score, values, create_graph=True)
        along = (gradients * values.detach()).sum()
        product = torch.autograd.grad(along, values, allow_unused=True)[0] if along.requires_grad else None
    return np.zeros(values.shape[1:]) if product is None else product[0].cpu().numpy()


def deviations(maps: Maps, expected: np.ndarray) -> tuple[float, float] | None:
    """Largest difference of the first image's map from its twin, as a share of the twin's peak.

    First of the raw maps, then where each is divided by its own peak; None where the twin is zero everywhere.
    """
    found = np.asarray(maps[0].detach().cpu() if isinstance(maps, Tensor) else maps[0], dtype=np.float64)
    if found.shape != expected.shape:
        raise ValueError(f"maps: got {found.shape}; the twin is {expected.shape}.")
    peak, own_peak = (np.abs(values).max(axis=(-2, -1), keepdims=True) for values in (expected, found))
    if not peak.all():
        return None
    scaled = found / np.where(own_peak > 0, own_peak, 1)
    return float((np.abs(found - expected) / peak).max()), float(np.abs(scaled - expected / peak).max())


# --- One model's table ------------------------------------------------------------------------------------------------------------


@dataclass
class Cell:
    """One library at one method, and inference beside it, round by round.

    Args:
        scaled_deviation: Where both maps are divided by their own peaks.
        deviation_side: Pixels a side that the deviation was measured at, where others than the time.
        reason: Why there are no figures.
        single: Whether the run was too slow to be repeated: its time is then that of the run that recorded memory, set beside
            inference in every round.
    """

    times: list[float] = field(default_factory=list)
    inference_times: list[float] = field(default_factory=list)
    peak: int = 0
    inference_peak: int = 0
    deviation: float | None = None
    scaled_deviation: float | None = None
    deviation_side: int | None = None
    reason: str = ""
    single: bool = False

    @property
    def time(self) -> float:
        """As a ratio to inference. What one round measures saw the same load of the machine."""
        times = self.times * len(self.inference_times) if self.single else self.times
        return statistics.median(mine / base for mine, base in zip(times, self.inference_times, strict=True))

    @property
    def memory(self) -> float:
        """As a ratio to inference."""
        return self.peak / self.inference_peak


@dataclass
class Row:
    method: str
    images: int
    cells: dict[str, Cell] = field(default_factory=dict)


def build(name: str) -> nn.Module:
    """A model with random weights."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None)
    if isinstance(model, torchvision.models.VisionTransformer):
        nn.init.normal_(model.get_submodule("heads.head").weight, std=0.02)  # torchvision leaves it zero
        for module in model.modules():
            if isinstance(
                module, nn.LayerNorm
            ):  # whose channels sum to zero before any training: Eigen-CAM would have no sign
                nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def measure(name: str, methods: list[str], peers: list[str], arguments: argparse.Namespace) -> list[Row]:
    """The rows of one model's table."""
    device = torch.device(arguments.device)
    torch.manual_seed(1)
    images = torch.randn(
        max(arguments.images, arguments.expensive_images), 3, arguments.size, arguments.size, device=device
    )
    model = build(name).to(device)
    with torch.inference_mode():
        target = int(model(images)[0].argmax())
    copies = {library: deepcopy(model) for library in [OURS, *peers]}
    rows = [
        Row(method, arguments.expensive_images if method in EXPENSIVE else arguments.images)
        for method in methods
    ]

    def case(library: str, row: Row, side: int = arguments.size) -> Case:
        return Case(
            copies[library], LAYERS[name], images[: row.images, :, :side, :side], target, arguments.batch
        )

    def infer(row: Row) -> Tensor:
        with torch.inference_mode():
            return model(images[: row.images])

    for row in rows:
        infer(row)
        inference_peak = peak_bytes(partial(infer, row), device)
        side = LARGEST_FOR_TWIN.get(row.method, arguments.size)
        expected = twin(case(OURS, row, side), row.method)
        for library in [OURS, *(peer for peer in peers if row.method in PEERS[peer][1])]:
            say(f"{name}, {row.method}: {library}")
            cell = row.cells[library] = Cell(inference_peak=inference_peak)
            with excused(cell, unless=library == OURS):
                maps = first_run(cell, case(library, row), row.method, library, device)
                if side < arguments.size:
                    cell.deviation_side, maps = side, run(library, case(library, row, side), row.method)
                if expected is not None and (library, row.method) not in OWN_NOISE:
                    cell.deviation, cell.scaled_deviation = deviations(maps, expected) or (None, None)
            if cell.reason:
                copies[library] = deepcopy(model)
            cell.single = not cell.reason and cell.times[0] > arguments.patience
            if not cell.single:
                cell.times = []
    for number in range(arguments.rounds):
        say(f"{name}: round {number + 1} of {arguments.rounds}")
        for row in rows:
            base = seconds(partial(infer, row), device)
            for library, cell in row.cells.items():
                if not cell.reason:
                    cell.inference_times.append(base)
                if not (cell.reason or cell.single):
                    cell.times.append(seconds(partial(run, library, case(library, row), row.method), device))
    return rows


def first_run(cell: Cell, case: Case, method: str, library: str, device: torch.device) -> Maps:
    """The run that warms up and records memory; its time is kept too, for where it stays the only one."""
    maps: list[Maps] = []
    case.model.zero_grad()  # what an earlier method left in .grad would not be counted again
    cell.peak = peak_bytes(
        lambda: cell.times.append(seconds(lambda: maps.append(run(library, case, method)), device)), device
    )
    return maps[0]


def run(library: str, case: Case, method: str) -> Maps:
    return ours(case, method) if library == OURS else PEERS[library][0](case, method)


@contextmanager
def excused(cell: Cell, unless: bool) -> Iterator[None]:
    """A peer that raises leaves its reason in the cell."""
    try:
        yield
    except Exception as error:
        if unless:
            raise
        cell.reason = (
            f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0].rstrip('.') or 'no message'}"
        )


def table(rows: list[Row], libraries: list[str], images: int) -> str:
    """Markdown, with notes below."""
    notes: list[str] = []

    def noted(note: str) -> str:
        if note not in notes:
            notes.append(note)
        return f" ({notes.index(note) + 1})"

    def words(row: Row, library: str) -> str:
        cell = row.cells.get(library)
        if cell is None:
            return "-"
        if cell.reason:
            return "-" + noted(f"{library}: {cell.reason}")
        text = f"{cell.time:.{2 if cell.time < 100 else 0}f} / {cell.memory:.2f} / "
        text += "-" if cell.deviation is None else f"{cell.deviation:.0e}"
        if (
            cell.deviation is not None
            and cell.scaled_deviation is not None
            and cell.scaled_deviation < cell.deviation / 10
        ):
            text += noted(
                f"{library}, {row.method}: {cell.scaled_deviation:.0e} where both maps are divided by their own peaks"
            )
        if cell.deviation_side:
            text += noted(
                f"deviation at {cell.deviation_side} x {cell.deviation_side}, where the twin's loops end in time"
            )
        if cell.single:
            text += noted(f"one run of {cell.times[0]:.0f} s, which recorded memory too, not repeated")
        if (library, row.method) in OWN_NOISE:
            text += noted(f"{library} draws noise of its own: no deviation is to be had")
        return text

    lines = ["| | " + " | ".join(libraries) + " |", "|---" * (len(libraries) + 1) + "|"]
    for row in rows:
        label = row.method if row.images == images else f"{row.method}, {counted(row.images)}"
        lines.append(f"| {label} | " + " | ".join(words(row, library) for library in libraries) + " |")
    return "\n".join([*lines, "", *(f"({number + 1}) {note}.  " for number, note in enumerate(notes))])


def counted(images: int) -> str:
    return f"{images} image{'s' if images > 1 else ''}"


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models",
        nargs="+",
        default=list(LAYERS),
        choices=list(LAYERS),
        metavar="MODEL",
        help="of torchvision",
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=[*CHEAP, "together", *EXPENSIVE],
        metavar="METHOD",
        help="on every model",
    )
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS), metavar="PEER")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--expensive-images", type=int, default=1, help=f"for {', '.join(EXPENSIVE)}")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument(
        "--batch", type=int, default=32, help="masked or ablated copies that go through a model at once"
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument(
        "--patience", type=float, default=60, help="a run that takes more seconds is not repeated"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="where to write the raw figures")
    arguments = parser.parse_args()

    where = surroundings(
        torch.device(arguments.device), "torchvision", *(DISTRIBUTIONS[peer] for peer in arguments.peers)
    )
    print(
        f"{where}\n\nA cell: time / peak of tensor memory, both as ratios to inference / largest deviation from the float64 twin."
    )
    print(
        f"Medians of {arguments.rounds} rounds. -: the library has no such method, or a note says why it failed."
    )
    figures: dict[str, Any] = {
        "surroundings": where,
        "arguments": {key: str(value) for key, value in vars(arguments).items()},
    }
    figures["models"] = {}
    for name in arguments.models:
        named = [TOGETHER if method == "together" else method for method in arguments.methods or ROWS[name]]
        rows = measure(name, named, arguments.peers, arguments)
        figures["models"][name] = [asdict(row) for row in rows]
        print(
            f"\n### {name} at {LAYERS[name]}, {counted(arguments.images)} of {arguments.size} x {arguments.size}\n"
        )
        print(table(rows, [OURS, *arguments.peers], arguments.images), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
