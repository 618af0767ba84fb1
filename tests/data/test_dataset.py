"""Class names and normalization in a dataset, below its wrappers."""

import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.batches import IMAGES, LABELS
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset
from torchvision import transforms as v1
from torchvision.datasets import FakeData
from torchvision.datasets.vision import StandardTransform
from torchvision.models import ResNet18_Weights
from torchvision.transforms import v2

from lightning_cam.checks import IMAGENET
from lightning_cam.data import dataset as datasets
from lightning_cam.data.dataset import class_names, normalization, nth_loader


class Loop:
    """A wrapper that wraps itself."""

    @property
    def dataset(self) -> "Loop":
        return self


class Normalize(SimpleNamespace):
    """Called as torchvision's."""


@pytest.mark.parametrize("mean", [None, "grey", lambda: 0.5, ()])
def test_a_mean_that_is_no_number_is_no_normalization(mean: object) -> None:
    def read(step: Normalize) -> object:
        return normalization(SimpleNamespace(dataset=SimpleNamespace(transform=step)))

    assert read(Normalize(mean=0.25, std=(0.5,))) == ((0.25,), (0.5,))
    assert read(Normalize(mean=mean, std=(0.5,))) is None
    assert read(Normalize(mean=0.5, std=0.0)) is None


def test_datasets_are_not_walked_through() -> None:
    class Counts(list):
        def __iter__(self) -> None:
            raise AssertionError("nothing is iterated")

    assert normalization(SimpleNamespace(dataset=Counts([1, 2]))) is None
    assert class_names(Loop()) is None


def test_the_preset_of_torchvisions_weights() -> None:
    preset = ResNet18_Weights.DEFAULT.transforms()
    mean, std = normalization(SimpleNamespace(dataset=SimpleNamespace(transform=preset)))
    assert (mean, std) == IMAGENET


class Named(Dataset):
    def __init__(self, transform: Any = None, classes: Any = ("cat", "dog"), **more: Any) -> None:
        self.transform, self.classes = transform, classes
        vars(self).update(more)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        raise AssertionError("nothing is to be loaded")


MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
FOUND = (("cat", "dog"), (MEAN, STD))
DATASET = Named(v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)]))
PLAIN = TensorDataset(IMAGES, LABELS)
WRAPPED = {
    "dataset": DATASET,
    "subset": Subset(DATASET, [0, 1]),
    "subset of a subset": Subset(Subset(DATASET, [0, 1]), [0]),
    "concatenated": ConcatDataset([DATASET, DATASET]),
    "concatenated, the second one knows": ConcatDataset([PLAIN, DATASET]),
    "subset of concatenated": Subset(ConcatDataset([DATASET]), [0]),
    "random split": torch.utils.data.random_split(DATASET, [2, 2], torch.Generator())[0],
    "loader": DataLoader(DATASET),
    "loader of a subset": DataLoader(Subset(DATASET, [0])),
    "list of loaders": [DataLoader(PLAIN), DataLoader(DATASET)],
    "tuple of loaders": (DataLoader(DATASET),),
    "dict of loaders": {"a": DataLoader(PLAIN), "b": DataLoader(DATASET)},
    "any iterable with a dataset": SimpleNamespace(dataset=DATASET),
}


@pytest.mark.parametrize("loaders", WRAPPED.values(), ids=WRAPPED.keys())
def test_facts_are_found_below_wrappers(loaders: Any) -> None:
    assert (datasets.class_names(loaders), datasets.normalization(loaders)) == FOUND


TRANSFORMS = {
    "v1 Compose": v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)]),
    "v1 nested": v1.Compose([v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)])]),
    "v2 Compose": v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(MEAN), list(STD))]
    ),
    "v2 nested": v2.Compose(
        [v2.Compose([v2.ToImage()]), v2.RandomApply([v2.Normalize(list(MEAN), list(STD))], p=1.0)]
    ),
    "sequential": nn.Sequential(v1.ConvertImageDtype(torch.float32), v1.Normalize(MEAN, STD)),
    "list": [v1.ToTensor(), v1.Normalize(MEAN, STD)],
    "alone": v1.Normalize(MEAN, STD),
    "the last of two": v1.Compose([v1.Normalize((0.5,), (0.5,)), v1.Normalize(MEAN, STD)]),
    "tensors": v1.Normalize(torch.tensor(MEAN, dtype=torch.float64), torch.tensor(STD, dtype=torch.float64)),
    "standard transform": StandardTransform(
        v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)]), v1.Lambda(int)
    ),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
@pytest.mark.parametrize("attribute", ["transform", "transforms"])
def test_normalization_is_found_in_transforms(transform: Any, attribute: str) -> None:
    assert datasets.normalization(DataLoader(Named(**{attribute: transform}))) == (MEAN, STD)


def test_normalization_of_a_torchvision_dataset() -> None:
    transform = v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(MEAN), list(STD))]
    )
    assert datasets.normalization(FakeData(4, (3, 8, 8), transform=transform)) == (MEAN, STD)
    # A joint transform of image and target, as v2 has it, lies in ``transforms`` alone.
    dataset = FakeData(4, (3, 8, 8))
    dataset.transform, dataset.transforms = None, transform
    assert datasets.normalization(dataset) == (MEAN, STD)


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.25), ((0.5,), 0.25)], ids=["numbers", "mixed"])
def test_normalization_by_one_number(mean: Any, std: Any) -> None:
    """torchvision takes a plain number for all channels; the sanity check must not fail because of it."""
    transform = v1.Normalize(mean, std)
    assert_close(transform(torch.ones(1, 2, 2)), torch.full((1, 2, 2), 2.0))
    assert datasets.normalization(Named(transform)) == ((0.5,), (0.25,))


NOTHING = {
    "none": None,
    "tensors": PLAIN,
    "no transform": Named(None, None),
    "no normalization": Named(v1.Compose([v1.ToTensor(), v1.Resize(4)]), None),
    "a function": Named(lambda image: image, None),
    "a list of numbers": [1, 2],
    "no loader": [],
    "no names": Named(None, []),
    "one string": Named(None, "cat"),
    "a number": Named(None, 10),
}


@pytest.mark.parametrize("loaders", NOTHING.values(), ids=NOTHING.keys())
def test_nothing_is_found_where_nothing_is(loaders: Any) -> None:
    assert (datasets.class_names(loaders), datasets.normalization(loaders)) == (None, None)


def test_class_names_become_text() -> None:
    assert datasets.class_names(Named(classes=[3, "dog"])) == ("3", "dog")


def test_of_a_name_with_synonyms_the_first() -> None:
    """torchvision's ImageNet has them as tuples."""
    names = [("tench", "Tinca tinca"), ("goldfish",), "shark"]
    assert datasets.class_names(Named(classes=names)) == ("tench", "goldfish", "shark")


def test_a_target_transform_makes_other_classes() -> None:
    """Ten names, and a model that tells one of them from the others."""
    made = FakeData(4, (3, 8, 8), target_transform=lambda label: int(label == 3))
    made.classes = ["cat", "dog"]
    for dataset in (made, Subset(made, [0]), Named(target_transform=int)):
        assert datasets.class_names(DataLoader(dataset)) is None
    made.target_transform = None
    assert datasets.class_names(DataLoader(made)) == ("cat", "dog")
    wrapper = Named(classes=None, dataset=DATASET, target_transform=int)
    assert datasets.class_names(wrapper) is None


def test_names_that_are_not_used_are_said() -> None:
    made = FakeData(4, (3, 8, 8), target_transform=lambda label: int(label == 3))
    assert datasets.names_note(DataLoader(made)) == ""  # it has none
    made.classes = ["cat", "dog"]
    assert "target_transform" in datasets.names_note(DataLoader(made))
    assert "class_names=" in datasets.names_note(DataLoader(made))
    made.target_transform = None
    assert datasets.names_note(DataLoader(made)) == ""


@pytest.mark.parametrize(("columns", "expected"), [(2, ("cat", "dog")), (1, None), (3, None)])
def test_names_are_used_where_there_is_one_a_column(columns: int, expected: tuple[str, ...] | None) -> None:
    assert datasets.fitting_names(("cat", "dog"), columns) == expected
    assert datasets.fitting_names(None, columns) is None


class AddGaussianNoise:
    """A much copied snippet; noise in other packages has the same attributes."""

    def __init__(self, mean: float = 0.0, std: float = 0.1) -> None:
        self.mean, self.std = mean, std


class TensorNormalize(AddGaussianNoise):
    """A normalization of the user's own is called so."""


def test_noise_is_no_normalization() -> None:
    assert datasets.normalization(Named(v1.Compose([v1.ToTensor(), AddGaussianNoise()]))) is None
    behind = v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD), AddGaussianNoise()])
    assert datasets.normalization(Named(behind)) == (MEAN, STD)
    assert datasets.normalization(Named(TensorNormalize(0.5, 0.25))) == ((0.5,), (0.25,))


@pytest.mark.usefixtures("unchecked")  # beartype itself draws random numbers
def test_nothing_is_iterated_and_no_random_number_used() -> None:
    before = torch.get_rng_state(), random.getstate()
    loader = DataLoader(DATASET, shuffle=True)
    datasets.class_names(loader)
    datasets.normalization(loader)
    assert_close(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_nth_loader() -> None:
    first, second = DataLoader(PLAIN), DataLoader(DATASET)
    assert nth_loader([first, second], 1) is second
    assert nth_loader((first, second), 0) is first
    assert nth_loader({"a": first, "b": second}, 1) is second
    assert nth_loader(first, 0) is first
