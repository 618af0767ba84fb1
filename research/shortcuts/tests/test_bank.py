from dataclasses import replace

import pytest
import torch

import research.shortcuts.artefacts as artefacts
import research.shortcuts.bank as bank
from research.shortcuts.artefacts import FAMILIES
from research.shortcuts.bank import Setup, prepared
from research.shortcuts.domains import DOMAINS


def planted(family, codes, classes, seed=0, channels=3, side=32):
    images = torch.rand(len(codes), channels, side, side, generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.avg_pool2d(images, 5, 1, 2)
    return smooth, FAMILIES[family](smooth, codes, classes, torch.Generator().manual_seed(seed))


def shown(images, others):
    return (images != others).flatten(1).any(dim=1)


SIZES = [(3, 32), (1, 28), (3, 96)]
CASES = [
    (family, *size)
    for family in FAMILIES
    for size in SIZES
    if size[0] == 3 or family not in artefacts.IN_COLOR
]


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize(("family", "channels", "side"), CASES)
def test_a_family_changes_what_has_a_code_and_nothing_else(family, classes, channels, side):
    codes = torch.arange(24) % (classes + 1) - 1
    before, after = planted(family, codes, classes, channels=channels, side=side)
    assert after.shape == before.shape
    assert after.dtype == torch.float32
    changed = shown(before, after)
    assert not changed[codes == -1].any()
    assert changed[codes >= 0].all()
    assert after.min() >= 0
    assert after.max() <= 1
    assert torch.equal(after, planted(family, codes, classes, channels=channels, side=side)[1])


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize(("family", "channels", "side"), CASES)
def test_every_class_has_its_own_variant_at_the_same_place(family, classes, channels, side):
    variants = torch.stack(
        [
            planted(family, torch.full((1,), code), classes, channels=channels, side=side)[1][0]
            for code in range(classes)
        ]
    )
    distances = torch.cdist(variants.flatten(1), variants.flatten(1))
    assert (distances + torch.eye(classes)).min() > 0


def test_the_families_that_no_cue_was_designed_for():
    assert (*artefacts.KNOWN, *artefacts.UNDESIGNED, *artefacts.NEW) == tuple(FAMILIES)
    assert len(artefacts.NEW) >= 12


def test_hues_need_colours():
    with pytest.raises(ValueError, match="'hue' needs 3 channels, got 1"):
        planted("hue", torch.zeros(2).long(), 2, channels=1)


@pytest.mark.parametrize("name", DOMAINS)
def test_domains(name):
    if name == "photographs":
        pytest.importorskip("skimage")
    domain = DOMAINS[name](3)
    classes = len(domain.class_names)
    for images, labels in (
        (domain.train_images, domain.train_labels),
        (domain.val_images, domain.val_labels),
    ):
        assert images.shape == (len(labels), 3, 32, 32)
        assert images.dtype == torch.float32
        assert images.min() >= 0
        assert images.max() <= 1
        assert labels.unique().tolist() == list(range(classes))
    if domain.masks is not None:
        assert domain.masks.shape == (len(domain.val_labels), 32, 32)
        assert domain.masks.flatten(1).any(dim=1).all()
    assert torch.equal(domain.val_images, DOMAINS[name](3).val_images)
    assert not torch.equal(domain.val_images, DOMAINS[name](4).val_images)


CODED = Setup("digits", "corner_patch", "coded", 0)


def agreement(setup):
    data = prepared(setup)
    return float((data.train_codes == data.train_labels).float().mean()), float(
        (data.val_codes == data.val_labels).float().mean()
    )


def test_correlation_is_what_it_says():
    assert agreement(CODED) == (1, 1)
    assert agreement(replace(CODED, correlation=0.8)) == pytest.approx((0.8, 0.8), abs=0.05)
    assert agreement(replace(CODED, kind="broken")) == pytest.approx((0.1, 1), abs=0.04)
    assert agreement(replace(CODED, kind="decoy")) == pytest.approx((0.1, 0.1), abs=0.04)


def test_aligned_removed_and_shuffled():
    data = prepared(CODED)
    assert torch.equal(data.val_images, data.aligned)
    assert shown(data.aligned, data.removed).all()
    assert shown(data.aligned, data.shuffled).all()
    decoy = prepared(replace(CODED, kind="decoy"))
    # The same domain, whatever is planted.
    assert torch.equal(decoy.removed, data.removed)
    assert torch.equal(data.removed, (DOMAINS["digits"](0).val_images - 0.5) / 0.25)


def test_one_class_carries_the_artefact():
    data = prepared(replace(CODED, kind="one"))
    carries = data.val_labels == data.carrier
    assert torch.equal(shown(data.val_images, data.removed), carries)
    assert torch.equal(shown(data.shuffled, data.removed), ~carries)
    assert torch.equal(
        data.train_codes, torch.where(data.train_labels == data.carrier, data.train_labels, -1)
    )


def test_strength():
    full, half = prepared(CODED), prepared(replace(CODED, family="tint", strength=0.5))
    assert shown(half.aligned, half.removed).all()
    whole = prepared(replace(CODED, family="tint", kind="clean"))
    assert torch.equal(whole.val_images, full.removed)


@pytest.mark.parametrize("kind", ["coded", "one", "broken", "decoy"])
def test_prepared_is_the_same_every_time(kind):
    setup = Setup("shapes", "timestamp", kind, 1, correlation=0.9)
    first, second = prepared(setup), prepared(setup)
    for name in ("train_images", "val_images", "aligned", "removed", "shuffled"):
        assert torch.equal(getattr(first, name), getattr(second, name))


# A key is a file: with another name or other images for it, stored runs would be taken for what they are not.
@pytest.mark.parametrize(
    ("family", "kind", "mean"),
    [
        ("watermark", "coded", -0.9334217),
        ("timestamp", "one", -0.9531563),
        ("chromatic", "broken", -0.9573881),
    ],
)
def test_stored_runs_stay_valid(family, kind, mean):
    setup = Setup("digits", family, kind, 3)
    assert setup.key == f"digits-{family}-{kind}-3-correlation1-strength1"
    assert float(prepared(setup).val_images.double().mean()) == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_share_of_one_class_carries_the_artefact(share):
    data = prepared(replace(CODED, kind="one", correlation=share))
    for codes, labels in ((data.train_codes, data.train_labels), (data.val_codes, data.val_labels)):
        own = labels == data.carrier
        assert (codes[~own] == -1).all()
        assert (codes[own] >= 0).float().mean() == pytest.approx(share, abs=0.16)
    assert torch.equal(shown(data.aligned, data.removed), data.val_labels == data.carrier)


def test_a_run_is_kept_loaded_and_not_trained_again(tmp_path, monkeypatch):
    setup = Setup("binary_digits", "frame", "coded", 0)
    row = bank.keep(tmp_path, setup, epochs=2)
    run, data = bank.load(tmp_path, setup), prepared(setup)
    assert len(run["states"]) == len(run["accuracies"]) == 2
    assert Setup(**run["setup"]) == setup
    model = bank.load_model(run["states"][1], len(run["class_names"]))
    with torch.no_grad():
        accuracy = (model(data.aligned).argmax(dim=1) == data.val_labels).float().mean()
    assert float(accuracy) == pytest.approx(row["aligned"], abs=0.01)
    assert [path.name for path in tmp_path.iterdir()] == [f"{setup.key}.pt"]
    other = replace(setup, seed=1)
    assert bank.missing(tmp_path, [setup, other]) == [other]
    most = max(map(bank.reliance, run["accuracies"]))
    (line,) = bank.overview(tmp_path, [setup, other]).splitlines()
    assert line.split()[:3] == ["binary_digits", "coded", "1"]
    assert f"1 runs  accuracy {row['val_images']:.2f}" in line
    assert f"{int(most > 0.2)} rely, reliance {most:5.2f}" in line
    monkeypatch.setattr(bank, "keep", None)
    bank.fill(tmp_path, [setup], workers=1)  # nothing to do
