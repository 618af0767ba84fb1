"""What a look costs: Grad-CAM of a batch beside the inference forward of the same batch, interleaved in one run.

    python benchmarks/look.py                       # ResNet-50, 16 images of 224 x 224
    python benchmarks/look.py --device cuda --rounds 50

Prints medians, their ratio, and the peak of tensor memory that each needs beyond model and images.
"""

import argparse
from collections.abc import Callable

import torch
import torchvision
from side_by_side import compare, surroundings
from torch import Tensor, nn

from lightning_cam import explain


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet50", help="a torchvision classifier")
    parser.add_argument("--target-layer", default="layer4")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    device = torch.device(arguments.device)
    torch.manual_seed(0)
    model: nn.Module = torchvision.models.get_model(arguments.model, weights=None).eval().to(device)
    images: Tensor = torch.randn(arguments.images, 3, arguments.size, arguments.size, device=device)

    def inference() -> Tensor:
        with torch.inference_mode():
            return model(images)

    def look(target_layer: str | None = arguments.target_layer) -> object:
        return explain(model, images, method="gradcam", target=0, target_layer=target_layer)

    variants: dict[str, Callable[[], object]] = {
        "inference": inference,
        "look": look,
        "look, layer to be found": lambda: look(None),
    }
    found = compare(variants, device, arguments.rounds)

    print(
        f"{arguments.model}, {arguments.images} images of {arguments.size} x {arguments.size}, {arguments.rounds} rounds; "
        f"{surroundings(device)}\n"
    )
    print("| | median time | ratio | peak memory | ratio |\n|---|---|---|---|---|")
    for name, timed in found.items():
        memory = timed.peak / found["inference"].peak
        print(
            f"| {name} | {timed.time:.3f} s | {timed.ratio:.3f} | {timed.peak / 1e6:.0f} MB | {memory:.3f} |"
        )


if __name__ == "__main__":
    main()
