import gzip

import pytest
import torch

from research.shortcuts.bank import augmented
from research.shortcuts.fashion import FASHION, GROUPS, NAMES, read_idx


def write_idx(path, array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.numpy().tobytes()))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Few images in the files of Fashion-MNIST: of every class, brightness 10 times its number, one more in the test set."""
    for part, count, more in (("train", 40, 0), ("t10k", 20, 1)):
        labels = torch.arange(count).to(torch.uint8) % 10
        images = (10 * labels + more)[:, None, None].expand(-1, 28, 28).contiguous()
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", labels)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    return tmp_path


def test_idx_files(tmp_path):
    array = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "some.gz", array)
    assert torch.equal(read_idx(tmp_path / "some.gz"), array)


@pytest.mark.parametrize("name", FASHION)
def test_images_have_the_label_of_their_class_and_keep_to_their_split(folder, name):
    domain = FASHION[name](0)
    classes = GROUPS.get(name.removeprefix("fashion_"), range(10))
    assert domain.class_names == tuple(NAMES[i] for i in classes)
    for images, labels, more in (
        (domain.train_images, domain.train_labels, 0),
        (domain.val_images, domain.val_labels, 1),
    ):
        assert images.shape == (len(labels), 1, 28, 28)
        assert labels.unique().tolist() == list(range(len(classes)))
        expected = (10 * torch.tensor(list(classes))[labels] + more) / 255
        torch.testing.assert_close(images[:, 0, 0, 0], expected)
    assert not torch.equal(domain.train_labels, FASHION[name](1).train_labels)
    assert torch.equal(domain.train_labels, FASHION[name](0).train_labels)


def test_a_missing_folder_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path / "nowhere"))
    with pytest.raises(
        ValueError, match="install Debian's dataset-fashion-mnist, or set the variable FASHION_MNIST"
    ):
        FASHION["fashion"](0)


def test_augmentation_moves_and_mirrors():
    images = torch.full((200, 1, 28, 28), -2.0)
    images[:, :, 14, 10] = 1
    moved = augmented(images, torch.Generator().manual_seed(0))
    spots = (moved == 1).nonzero()
    assert torch.equal(spots[:, 0], torch.arange(200))  # one each, none lost
    assert spots[:, 2].unique().tolist() == list(range(11, 18))
    assert spots[:, 3].unique().tolist() == [*range(7, 14), *range(14, 21)]
    assert (moved == -2).sum() == 200 * (28 * 28 - 1)
