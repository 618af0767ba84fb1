"""Which method explains this model best? A table of measures, one row a method, the best first.

    python examples/choose_method.py                                     # a small network trained here, on tagged digits
    python examples/choose_method.py --methods gradcam layercam random
    python examples/choose_method.py --model resnet50 --checkpoint resnet50.pth --images-folder photographs

No measure is the truth, and on few images they are noisy: compare each row with that of ``random``, the baseline to beat.
"""

import argparse
import time
from pathlib import Path

import torch
import torchvision
from digits import Classifier, Digits, colored_digits
from PIL import Image
from pytorch_lightning import Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_cam import METHODS, Explanation, explain
from lightning_cam.metrics.faithfulness import average_drop, deletion, increase_in_confidence, insertion, road
from lightning_cam.metrics.randomization import parameter_randomization

DEFAULT = (
    "gradcam",
    "gradcam++",
    "hirescam",
    "layercam",
    "eigencam",
    "fem",
    "ablationcam",
    "scorecam",
    "random",
)
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def trained_digits(count: int, epochs: int) -> tuple[nn.Module, Tensor]:
    """A classifier of digits with a tag in the corner that tells the class, and images that it was not trained on."""
    seed_everything(0, verbose=False)
    images, labels = colored_digits()
    train, val = (
        Digits(images[part], labels[part], labels[part]) for part in (slice(0, 1347), slice(1347, None))
    )
    trainer = Trainer(
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Classifier()
    trainer.fit(model, DataLoader(train, batch_size=64, shuffle=True))
    return model, torch.stack([val[i][0] for i in range(count)])


def from_folder(name: str, checkpoint: Path, folder: Path, count: int) -> tuple[nn.Module, Tensor]:
    """A torchvision classifier with the weights of a file, and the first images of a folder, as its transforms make them."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state)
    model = torchvision.models.get_model(name, weights=None, num_classes=len(list(state.values())[-1]))
    model.load_state_dict(state)
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)[:count]
    if not paths:
        raise SystemExit(f"--images-folder: {folder} holds no images ({', '.join(ENDINGS)}).")
    return model.eval(), torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])


def measured(model: nn.Module, images: Tensor, method: str, stages: int) -> dict[str, float]:
    """One row of the table: means over images."""

    def explained(model: nn.Module, labels: Tensor | None = None) -> Explanation:
        target = "predicted" if labels is None else "label"
        return explain(model, images, method=method, target=target, labels=labels)

    start = time.perf_counter()
    explanation = explained(model)
    if images.is_cuda:
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / len(images)
    seen, saliency, classes = explanation.images, explanation.saliency, explanation.target_classes
    stays = parameter_randomization(
        model, seen, lambda model, _: explained(model, classes).saliency, stages=stages
    )
    down, up = (
        deletion(model, seen, saliency, labels=classes),
        insertion(model, seen, saliency, labels=classes),
    )
    row = {
        "ins - del": up - down,
        "deletion": down,
        "insertion": up,
        "drop": average_drop(model, seen, saliency, labels=classes),
        "increase": increase_in_confidence(model, seen, saliency, labels=classes),
        "ROAD": road(model, seen, saliency, labels=classes),
        "same": torch.stack(list(stays.values())).abs(),
    }
    means = {name: values.nanmean().item() for name, values in row.items()}
    return {**means, "+-": ((up - down).std() / len(images) ** 0.5).item(), "s/image": seconds}


COLUMNS = {  # and what is better
    "ins - del": "high", "+-": "", "deletion": "low", "insertion": "high", "drop": "low", "increase": "high", "ROAD": "high",
    "same": "low", "s/image": "low",
}  # fmt: skip


def table(rows: dict[str, dict[str, float]]) -> str:
    """The rows in words, the largest difference of insertion and deletion first."""
    lines = ["method".ljust(20) + "".join(name.rjust(10) for name in COLUMNS)]
    lines.append("better is".ljust(20) + "".join(better.rjust(10) for better in COLUMNS.values()))
    for method in sorted(rows, key=lambda name: -rows[name]["ins - del"]):
        lines.append(method.ljust(20) + "".join(f"{rows[method][name]:10.3f}" for name in COLUMNS))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--methods", nargs="+", default=DEFAULT, choices=METHODS, metavar="METHOD", help=", ".join(METHODS)
    )
    parser.add_argument("--images", type=int, default=16, help="how many")
    parser.add_argument("--epochs", type=int, default=4, help="of the training on digits")
    parser.add_argument("--stages", type=int, default=3, help="of the parameter randomization")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", help="a torchvision classifier")
    parser.add_argument("--checkpoint", type=Path, help="its weights: a state dict")
    parser.add_argument("--images-folder", type=Path, help="images to look at")
    arguments = parser.parse_args()
    given = [arguments.model, arguments.checkpoint, arguments.images_folder]
    if any(given) and not all(given):
        parser.error("--model, --checkpoint and --images-folder go together.")

    if arguments.model:
        model, images = from_folder(
            arguments.model, arguments.checkpoint, arguments.images_folder, arguments.images
        )
    else:
        model, images = trained_digits(arguments.images, arguments.epochs)
    model = model.to(arguments.device)
    print(
        f"{type(model).__name__}, {len(images)} images, {torch.get_num_threads()} threads, {arguments.device}\n"
    )
    images = images.to(arguments.device)
    explain(model, images)  # the first look is slower
    print(table({method: measured(model, images, method, arguments.stages) for method in arguments.methods}))
    print(
        "\nins - del: insertion less deletion, by which the rows are sorted; +- is its standard error over the images: closer rows"
        "\nare alike. drop, increase: of the probability, where only what is salient is kept. ROAD: removal that leaves no trace; 0"
        "\nis chance. same: rank correlation of the maps with those of copies of the model that forget what it learnt."
    )


if __name__ == "__main__":
    main()
