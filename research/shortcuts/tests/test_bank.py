from dataclasses import replace

import pytest
import torch

import research.shortcuts.artefacts as artefacts
import research.shortcuts.bank as bank
from research.shortcuts.artefacts import FAMILIES
from research.shortcuts.bank import Setup, prepared
from research.shortcuts.domains import DOMAINS


def planted(family, codes, classes, seed=0):
    images = torch.rand(len(codes), 3, 32, 32, generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.avg_pool2d(images, 5, 1, 2)
    return smooth, FAMILIES[family](smooth, codes, classes, torch.Generator().manual_seed(seed))


def shown(images, others):
    return (images != others).flatten(1).any(dim=1)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_changes_what_has_a_code_and_nothing_else(family, classes):
    codes = torch.arange(24) % (classes + 1) - 1
    before, after = planted(family, codes, classes)
    changed = shown(before, after)
    assert not changed[codes == -1].any()
    assert changed[codes >= 0].all()
    assert after.min() >= 0
    assert after.max() <= 1
    assert torch.equal(after, planted(family, codes, classes)[1])


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_class_has_its_own_variant_at_the_same_place(family, classes):
    variants = torch.stack(
        [planted(family, torch.full((1,), code), classes)[1][0] for code in range(classes)]
    )
    distances = torch.cdist(variants.flatten(1), variants.flatten(1))
    assert (distances + torch.eye(classes)).min() > 0


def test_the_families_that_no_cue_was_designed_for():
    assert (*artefacts.KNOWN, *artefacts.UNDESIGNED) == tuple(FAMILIES)


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


def test_plans_name_every_run_once():
    setups = [setup for plan in bank.PLANS.values() for setup in plan()]
    assert len({setup.key for setup in setups}) == len(setups)
    assert all(setup.seed >= 100 for setup in bank.tuning())
    assert all(setup.seed < 100 for name, plan in bank.PLANS.items() if name != "tuning" for setup in plan())


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
    monkeypatch.setattr(bank, "keep", None)
    bank.fill(tmp_path, [setup], workers=1)  # nothing to do
