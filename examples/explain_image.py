"""Where does a classifier look in this image? From Python, with ResNet-50 of torchvision.

    python examples/explain_image.py cat.jpg "tabby cat" lynx
    python examples/explain_image.py cat.jpg tabby --weights resnet50.pth       # without a network

The command does the same for any classifier of torchvision or timm: lightning-cam explain cat.jpg --class tabby
"""

import argparse
from typing import Any

import torch
from PIL import Image
from torchvision.models import ResNet50_Weights, resnet50

from lightning_cam import explain

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("image")
parser.add_argument("classes", nargs="+", help="names of ImageNet's classes")
parser.add_argument("--weights", metavar="FILE", help="a state dict; without it the weights are downloaded")
given = parser.parse_args()

weights = ResNet50_Weights.DEFAULT
model = resnet50(weights=None if given.weights else weights).eval()
if given.weights:
    model.load_state_dict(torch.load(given.weights, weights_only=True))
names = weights.meta["categories"]
image = weights.transforms()(Image.open(given.image).convert("RGB"))

found: list[Any] = [
    explain(model, image, target=name, class_names=names, normalization="imagenet") for name in given.classes
]
first, *others = found
figure = first.figure(threshold=0.5, beside=others, difference=bool(others))  # a notebook shows it by itself
figure.savefig("explained.png", dpi=150)
first.save("explained.npz")  # maps, scores and names as arrays
print("written: explained.png, explained.npz")
