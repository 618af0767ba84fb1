"""How overlays look beside those of three peers, what they leave of the image, and what a look takes of the event file.

    python benchmarks/pictures.py                              # writes docs/overlays.jpg; a few minutes on two CPU cores
    python benchmarks/pictures.py --sizes 64 --epochs 2 --output overlays.jpg

The picture: the same made-up map of 7 x 7 over photographs, dark digits and a grey image like a radiograph, drawn by each library's own
function with its defaults. The first table: of the photographs' light and of their contrast (the standard deviation in windows of 7 x 7)
what is left where the map is below 5 % of its maximum. The second one: how many kB the event file of TensorBoard grows by a look, on
photographs of that size, by the defaults; a finding brings a picture of its own, cam/alert, which is left out here.
"""

import argparse
import io
import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from captum.attr import visualization
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchcam.utils import overlay_mask

from lightning_cam import CAMMonitor
from lightning_cam.attribution.maps import saliency
from lightning_cam.visualization.blend import color_table, overlay_cams
from lightning_cam.visualization.letters import write

SIDE = 160
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "camera")
LUMINANCE = torch.tensor([0.2126, 0.7152, 0.0722])
WINDOW = 7
NEW, OLD, TURBO = "lightning_cam", "opacity 0.5, inferno", 'colormap="turbo"'
Overlay = Callable[[Tensor, Tensor], Tensor]  # an image (3, H, W) and a raw map (h, w): the picture (3, H, W)


def ours(colormap: str, opacity: float | str) -> Overlay:
    def draw(image: Tensor, cam: Tensor) -> Tensor:
        size = tuple(image.shape[1:])
        return overlay_cams(image[None], cam[None], size, size, color_table(colormap), opacity)[0]

    return draw


def grad_cam(image: Tensor, cam: Tensor) -> Tensor:
    mask = saliency(cam[None], tuple(image.shape[1:]))[0].numpy()
    return from_pixels(show_cam_on_image(pixels(image).astype(np.float32) / 255, mask, use_rgb=True))


def torchcam(image: Tensor, cam: Tensor) -> Tensor:
    mask = Image.fromarray((cam / cam.max()).clamp(0, 1).numpy(), mode="F")
    return from_pixels(np.asarray(overlay_mask(Image.fromarray(pixels(image)), mask)))


def captum(image: Tensor, cam: Tensor) -> Tensor:
    height, width = image.shape[1:]
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    axis = figure.add_axes((0, 0, 1, 1))
    map_at_size = saliency(cam[None], (height, width))[0, ..., None].numpy()
    visualization.visualize_image_attr(
        map_at_size,
        pixels(image),
        "blended_heat_map",
        "positive",
        plt_fig_axis=(figure, axis),
        use_pyplot=False,
    )
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return from_pixels(np.asarray(Image.open(file).convert("RGB").resize((width, height))))


COLUMNS: dict[str, Overlay] = {
    NEW: ours("plasma", "evidence"),
    TURBO: ours("turbo", "evidence"),
    OLD: ours("inferno", "constant"),
    "pytorch-grad-cam": grad_cam,
    "torchcam": torchcam,
    "captum": captum,
}


def pixels(image: Tensor) -> np.ndarray:
    return (255 * image).round().byte().permute(1, 2, 0).numpy()


def from_pixels(picture: np.ndarray) -> Tensor:
    return torch.tensor(picture[..., :3]).permute(2, 0, 1).float() / 255


def photograph(name: str, side: int) -> Tensor:
    """The middle of one of scikit-image's photographs, (3, side, side) in [0, 1]."""
    found = torch.tensor(np.array(getattr(skimage.data, name)())).float() / 255
    found = (found if found.ndim == 3 else found[..., None].expand(-1, -1, 3)).permute(2, 0, 1)
    least = min(found.shape[1:])
    top, left = ((length - least) // 2 for length in found.shape[1:])
    square = found[None, :, top : top + least, left : left + least]
    return F.interpolate(square, size=(side, side), mode="bilinear", antialias=True)[0].clamp(0, 1)


def digit(number: int, side: int) -> Tensor:
    scan = torch.tensor(load_digits().images[number][None, None]).float() / 16
    return F.interpolate(scan, size=(side, side), mode="bilinear").clamp(0, 1)[0].expand(3, -1, -1)


def chest(side: int) -> Tensor:
    """Grey, with bright and dark fields, ribs and a heart: made up, as a radiograph may not be passed on."""
    v, u = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    body = 0.75 * torch.exp(-((u / 0.85) ** 6))
    lungs = sum(torch.exp(-((((u - x) / 0.3) ** 2 + ((v + 0.05) / 0.6) ** 2) ** 2)) for x in (-0.42, 0.42))
    ribs = 0.07 * torch.sin(18 * (v + 0.35 * u.abs() ** 1.5)) * lungs
    heart = 0.25 * torch.exp(-((((u - 0.12) / 0.28) ** 2 + ((v - 0.3) / 0.3) ** 2) ** 2))
    spine = 0.18 * torch.exp(-((u / 0.07) ** 2))
    noise = 0.02 * torch.randn(side, side, generator=torch.Generator().manual_seed(0))
    return (body - 0.5 * lungs + ribs + heart + spine + noise).clamp(0, 1)[None].expand(3, -1, -1)


def made_up_map(row: float, column: float) -> Tensor:
    """A strong peak there, and a weaker one elsewhere."""
    v, u = torch.meshgrid(torch.arange(7.0), torch.arange(7.0), indexing="ij")
    other = ((row + 3) % 7, (column + 2) % 7)
    peaks = [torch.exp(-((v - y) ** 2 + (u - x) ** 2) / 3) for y, x in ((row, column), other)]
    return peaks[0] + 0.45 * peaks[1]


def side_by_side(path: Path) -> None:
    rows = [
        (photograph(name, SIDE), place)
        for name, place in zip(
            PHOTOGRAPHS, ((1.0, 3.0), (3.0, 3.0), (3.0, 2.0), (3.0, 3.0), (2.0, 3.0)), strict=True
        )
    ]
    rows += [(digit(3, SIDE), (2.0, 3.0)), (chest(SIDE), (4.0, 4.0))]
    head, step = 24, SIDE + 4
    sheet = Image.new("RGB", ((1 + len(COLUMNS)) * step, head + len(rows) * step), (255, 255, 255))
    for number, title in enumerate(["image", *COLUMNS]):
        write(ImageDraw.Draw(sheet), (number * step + 2, 4), title, (32, 32, 32), bold=title == NEW)
    for row, (image, place) in enumerate(rows):
        drawn = [image, *(draw(image, made_up_map(*place)) for draw in COLUMNS.values())]
        for number, picture in enumerate(drawn):
            sheet.paste(Image.fromarray(pixels(picture)), (number * step, head + row * step))
    sheet.save(path, quality=88, optimize=True)
    print(f"written: {path}, {path.stat().st_size / 1000:.0f} kB\n")


def kept(draw: Overlay) -> tuple[float, float]:
    """Of light and of contrast, what is left where the evidence is below 5 %; means over the photographs. What is brightened or
    darkened counts as lost.
    """
    light, contrast = [], []
    for name in PHOTOGRAPHS:
        image, cam = photograph(name, 224), made_up_map(2, 4) - 0.05
        weak = saliency(cam[None], (224, 224))[0] < 0.05
        before, after = (torch.einsum("c,chw->hw", LUMINANCE, one) for one in (image, draw(image, cam)))
        light.append(1 - ((after - before)[weak].abs().sum() / before[weak].sum()).item())
        inside = -F.max_pool2d(-weak[None].float(), WINDOW, stride=1)[0] > 0
        spreads = [
            one.unfold(0, WINDOW, 1).unfold(1, WINDOW, 1).flatten(2).std(dim=2)[inside].sum()
            for one in (before, after)
        ]
        contrast.append((spreads[1] / spreads[0]).item())
    return sum(light) / len(light), sum(contrast) / len(contrast)


class Classifier(LightningModule):
    """A small network, which learns from which photograph a piece is."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 5, 4, 2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, len(PHOTOGRAPHS))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor]) -> None:
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def pieces(side: int, each: int = 16) -> TensorDataset:
    """Squares cut out of photographs, and from which one each is."""
    generator = torch.Generator().manual_seed(0)
    cut, labels = [], []
    for label, name in enumerate(PHOTOGRAPHS):
        whole = photograph(name, 2 * side)
        for top, left in torch.randint(0, side, (each, 2), generator=generator).tolist():
            cut.append(whole[:, top : top + side, left : left + side])
            labels.append(label)
    return TensorDataset(torch.stack(cut), torch.tensor(labels))


def bytes_of_looks(side: int, epochs: int) -> tuple[float, dict[str, float]]:
    """Bytes by which the event file grows a look, and by picture."""
    seed_everything(0, verbose=False)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    data = pieces(side)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger = TensorBoardLogger(folder)
        Trainer(
            max_epochs=epochs, logger=logger, callbacks=[CAMMonitor(max_overhead=None, shortcuts=None)], accelerator="cpu", log_every_n_steps=1,
            enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        ).fit(Classifier(), DataLoader(data, 16, shuffle=True), DataLoader(data, 16))  # fmt: skip
        logger.experiment.close()
        grown = sum(path.stat().st_size for path in Path(logger.log_dir).glob("events*"))
        found = EventAccumulator(logger.log_dir, size_guidance={"images": 0}).Reload()
        pictures = {
            tag: sum(len(event.encoded_image_string) for event in found.Images(tag)) / epochs
            for tag in found.Tags()["images"]
        }
    return grown / epochs, pictures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--epochs", type=int, default=10, help="and looks (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("docs/overlays.jpg"))
    arguments = parser.parse_args()

    side_by_side(arguments.output)
    print("| overlay | light kept | contrast kept |\n|---|---|---|")
    for name, draw in COLUMNS.items():
        light, contrast = kept(draw)
        print(f"| {name} | {100 * light:.0f} % | {100 * contrast:.0f} % |")
    print(f"\n| images | kB a look, of {arguments.epochs} | of these |\n|---|---|---|")
    for side in arguments.sizes:
        grown, pictures = bytes_of_looks(side, arguments.epochs)
        said = ", ".join(f"{tag.removeprefix('cam/')} {count / 1000:.0f}" for tag, count in pictures.items())
        print(f"| {side} x {side} | {grown / 1000:.0f} | {said} |")


if __name__ == "__main__":
    main()
