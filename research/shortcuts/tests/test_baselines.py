import math

import pytest
import torch
from torch.testing import assert_close

import research.shortcuts.baselines as baselines
from lightning_cam.data.probe import Probe
from lightning_cam.explanation import Explanation
from lightning_cam.shortcuts.reliance import Reliance
from lightning_cam.shortcuts.rule import holds, holds_of_one
from research.shortcuts.baselines import (
    auroc,
    baseline_table,
    cleanlab_properties,
    data_baselines,
    deepchecks_properties,
    last_scores,
    margin,
    rescaled,
    told,
)


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_auroc_by_hand():
    assert auroc([3, 2], [1, 0]) == 1
    assert auroc([0], [1, 2]) == 0
    assert auroc([1], [1]) == 0.5
    assert auroc([1, 3], [2, 1]) == (0 + 0.5 + 1 + 1) / 4
    assert auroc([math.inf, -math.inf], [0]) == 0.5
    assert math.isnan(auroc([], [1]))
    assert math.isnan(auroc([1], []))


def test_rescaled_balanced_accuracy_by_hand():
    labels = torch.tensor([0, 0, 0, 1])
    assert rescaled(labels, labels) == 1
    assert rescaled(torch.zeros_like(labels), labels) == 0  # the majority, a plain accuracy of 3 / 4
    assert rescaled(1 - labels, labels) == -1
    assert rescaled(torch.tensor([0, 0, 1, 1]), labels) == pytest.approx(2 * (2 / 3 + 1) / 2 - 1)
    three = torch.tensor([2, 5, 9])  # numbers of classes need not be 0, 1, 2
    assert rescaled(torch.tensor([2, 5, 5]), three) == pytest.approx((2 / 3 - 1 / 3) / (2 / 3))


def test_told_by_hand():
    # Left out, 4 has its class at 0 and the other at 9: (4 - 0)^2 / (1 + 1 / 2) = 10.7 and (4 - 9)^2 / (1 + 1 / 2) = 16.7.
    assert told(torch.tensor([[0.0], [0.0], [4.0], [9.0], [9.0]]), torch.tensor([0, 0, 0, 1, 1])) == 1
    # Left out, 6 has its class at 0: 36 / 1.5 and 9 / 1.5.
    assert told(
        torch.tensor([[0.0], [0.0], [6.0], [9.0], [9.0]]), torch.tensor([0, 0, 0, 1, 1])
    ) == pytest.approx(2 / 3)
    assert (
        told(torch.tensor([[0.0], [0.1], [5.0]]), torch.tensor([0, 0, 1])) == 0
    )  # nobody tells the only image of its class


def test_told_leaves_each_image_out_as_a_loop_does():
    values, labels = random(23, 4), torch.arange(23) % 3
    predicted = []
    for i in range(len(labels)):
        distances = []
        for label in range(3):
            others = [values[j].double() for j in range(len(labels)) if j != i and labels[j] == label]
            mean = torch.stack(others).mean(dim=0)
            distances.append(float((values[i].double() - mean).square().sum()) / (1 + 1 / len(others)))
        predicted.append(distances.index(min(distances)))
    assert told(values, labels) == pytest.approx(rescaled(torch.tensor(predicted), labels))


@pytest.mark.parametrize(("count", "few"), [(1000, 100), (1000, 500)])
def test_noise_tells_nothing(count, few):
    labels = (torch.arange(count) < few).long()
    found = [told(random(count, 1, seed=seed), labels) for seed in range(20)]
    assert abs(sum(found) / len(found)) < 0.04
    assert (
        max(found) < 0.15
    )  # below 0 it may be far: where means agree, the class that an image is missing from is the farther


def test_noisy_maps_of_few_images_tell_nothing():
    found = [told(random(64, 1024, seed=seed), torch.arange(64) % 10) for seed in range(40)]
    assert abs(sum(found) / len(found)) < 0.03


def test_what_is_constant_but_for_rounding_tells_nothing():
    labels = torch.arange(30) % 3
    assert told(torch.full((30, 1), 0.1), labels) == 0
    assert told(0.1 + labels[:, None] * 1e-8, labels) == 0


def test_a_property_that_tells_the_label():
    labels = torch.arange(40) % 4
    images = random(40, 3, 8, 8) * 0.1 + labels[:, None, None, None] * 0.2
    found = data_baselines((images - 0.5) / 0.25, labels)
    assert found == {"cleanlab_like": 1, "deepchecks_like": 1}
    tinted = random(40, 3, 8, 8) * 0.01 + torch.eye(3)[labels % 3][:, :, None, None] * 0.5
    assert data_baselines((tinted - 0.5) / 0.25, labels % 3)["deepchecks_like"] == 1


def test_nothing_depends_on_the_order_of_the_images():
    images, labels = random(60, 3, 8, 8), torch.arange(60) % 4
    images = images + labels[:, None, None, None] * 0.05
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    assert data_baselines(images[order], labels[order]) == data_baselines(images, labels)
    assert told(images[order].flatten(1), labels[order]) == told(images.flatten(1), labels)


def test_properties_by_hand():
    images = torch.zeros(2, 3, 4, 4)
    images[0, 0, :, :2] = 1.0  # a red half, a black half
    images[1] = 0.5
    cleanlab, deepchecks = cleanlab_properties(images), deepchecks_properties(images)
    assert_close(cleanlab["brightness"], torch.tensor([0.1495, 0.5]))
    assert_close(cleanlab["darkness"], torch.tensor([0.0, 0.5]))
    assert_close(cleanlab["information"], torch.tensor([1.0, 0.0]))
    assert_close(cleanlab["odd contrast"], torch.tensor([0.299 * math.sqrt(4 / 15), 0.0]))
    assert_close(cleanlab["blurriness"], torch.tensor([0.299**2 * 4 / 3, 0.0]))  # -1, 1, -1, 1 times 0.299
    assert_close(deepchecks["red"], torch.tensor([0.5, 1 / 3]))
    assert_close(deepchecks["blue"], torch.tensor([0.0, 1 / 3]))
    assert_close(deepchecks["RMS contrast"], cleanlab["odd contrast"])


def scores_of_maps(masks=None, blank=False):
    cams = torch.zeros(4, 20, 20)
    if not blank:
        cams[:2, 10, 10] = 1.0  # two in the middle, two in a corner
        cams[2:, 0, 0] = 1.0
    images, labels = random(4, 3, 20, 20), torch.tensor([0, 0, 1, 1])
    explanation = Explanation(
        images, cams, torch.zeros(4, 2), labels, "features", "gradcam", torch.zeros(4, dtype=torch.long)
    )
    answers = torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)]])
    return baselines.baselines(explanation, Probe(images, labels, masks), answers, torch.tensor([0, 0]))


def test_scores_of_the_model_by_hand():
    masks = torch.zeros(4, 20, 20, dtype=torch.bool)
    masks[:, 8:12, 8:12] = True
    found = scores_of_maps(masks)
    expected = {
        "border_energy": 0.5,
        "outside_mask": 0.5,
        "class_from_cam": 1.0,
        "accuracy": 0.5,
        "confidence": (0.5 + 0.75) / 2,
    }
    assert found == pytest.approx(expected)


def test_without_masks_and_without_maps():
    assert math.isnan(scores_of_maps()["outside_mask"])
    found = scores_of_maps(blank=True)
    assert math.isnan(found["border_energy"])
    assert found["class_from_cam"] == 0


def test_grey_images_have_no_colours():
    images, labels = random(40, 1, 8, 8) * 0.1, torch.arange(40) % 4
    assert deepchecks_properties(images).keys() == {"brightness", "RMS contrast"}
    told_apart = data_baselines((images + labels[:, None, None, None] * 0.2 - 0.5) / 0.25, labels)
    assert told_apart == {"cleanlab_like": 1, "deepchecks_like": 1}


def measured(cue="tones", predictivity=1.0, points=0.0, excess=0.0, z=9.0, label=None, p_value=1.0):
    return {
        "cue": cue, "label": label, "predictivity": predictivity, "points": points, "excess": excess, "z": z, "p_value": p_value,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("test", "classes", "expected"),
    [
        (measured(predictivity=0.8, points=0.2, excess=0.06), 10, 1.0),
        (measured(predictivity=0.6, points=0.3, excess=0.35), 10, 1.0),
        (measured(predictivity=0.8, points=0.1, excess=0.06), 10, 0.5),
        (measured(predictivity=0.8, points=0.2, excess=0.06, z=2.0), 10, 0.5),
        (measured("spot", predictivity=0.5, points=0.3, excess=0.15), 10, 1.0),
        (measured(predictivity=0.6, points=0.3, excess=0.175), 10, 0.8),  # 0.6 of 0.75
        (measured(predictivity=0.9, points=0.3), 2, 1.0),
        (measured(predictivity=1.0, points=-0.1), 2, -0.5),
        (measured(predictivity=0.9, points=0.3, excess=0.1, z=0.0, label=3), 10, 0.6),
    ],
)
def test_how_much_of_the_rule_is_there_by_hand(test, classes, expected):
    assert margin(test, classes) == pytest.approx(expected)


def test_a_margin_of_one_is_where_the_rule_holds():
    values = random(400, 4, seed=5)
    for tells, points, excess, z in (values * torch.tensor([1.0, 0.6, 0.5, 20.0])).tolist():
        found = Reliance(points, 0.0, z, excess, 64)
        test = measured("tones", tells, points, excess, z)
        for classes in (2, 10):
            assert (margin(test, classes) >= 1) == holds("tones", tells, found, classes)
        assert (margin({**test, "label": 1}, 10) >= 1) == holds_of_one("tones", tells, points, excess)


def made_up(domain, kind, reached, energy, outside=math.nan, shuffled=0.1, correlation=1.0, p_value=1.0):
    setup = {
        "domain": domain,
        "family": "tint",
        "kind": kind,
        "seed": 0,
        "correlation": correlation,
        "strength": 1.0,
    }
    tests = [
        measured("border_8", predictivity=0.1, points=0.1),
        measured(predictivity=0.8 * reached, points=0.5, excess=0.5, p_value=p_value),
    ]
    beside = {"border_energy": energy, "outside_mask": outside}
    row = {"results": tests, "baselines": beside, "aligned": 1.0, "shuffled": shuffled}
    return {"setup": setup, "class_names": ["a", "b", "c"], "epochs": [{**row, "results": []}, row]}


RUNS = [
    made_up("digits", "coded", 1.2, 0.9, p_value=5e-10),
    made_up("digits", "coded", 1.1, 0.2, p_value=0.0),
    made_up("digits", "coded", 0.1, 9.0, shuffled=0.9),  # relies on nothing
    made_up("digits", "coded", 0.1, 9.0, correlation=0.9),
    made_up("digits", "one", 0.1, 9.0),
    made_up("digits", "clean", 0.7, 0.3),
    made_up("digits", "broken", 0.8, 0.1, p_value=5e-3),
    made_up("shapes", "coded", 1.2, 0.2, 0.8),
    made_up("shapes", "decoy", 0.7, 0.5, 0.3),
    made_up("fashion_tops", "clean", 0.9, 0.5),
    made_up("honest_position", "clean", 0.6, 0.5, 0.3),
    made_up("imbalanced", "clean", 0.9, 0.2),
]


def test_our_scores_are_the_clearest_tests_of_the_last_look():
    found = last_scores(RUNS[0])
    # predictivity 0.96 of 0.6, points 0.5 of 0.3, excess 0.5 of 0.35; the other lines are further: 0.96 of 0.8 and of 0.75
    assert found["our rule"] == pytest.approx(0.5 / 0.35)
    assert found["dominance"] == pytest.approx(9)
    assert last_scores(RUNS[1])["dominance"] == pytest.approx(300)
    empty = {"epochs": [{"results": [], "baselines": {}}], "class_names": ["a", "b"]}
    assert last_scores(empty) == {"our rule": 0, "dominance": 0}


def cells(runs):
    lines = baseline_table(runs).splitlines()
    assert len({len(line) for line in lines[1:]}) == 1
    return {line[:16].strip(): line[16:].split() for line in lines[2:]}


def test_the_table_of_all_scores():
    found = cells(RUNS)
    # AUROC on five domains; the threshold; found on five; false on four and on the honest tasks
    assert found["our rule"] == [
        "1.00", "1.00", "-", "-", "-", "1.07", "1.00", "1.00", "-", "-", "-", "0.00", "1.00", "-", "-", "0.50",
    ]  # fmt: skip
    assert found["dominance"] == [
        "1.00", "0.50", "-", "-", "-", "2.00", "1.00", "0.00", "-", "-", "-", "0.00", "0.00", "-", "-", "0.00",
    ]  # fmt: skip
    assert found["border_energy"] == [
        "0.75", "0.00", "-", "-", "-", "0.30", "0.50", "0.00", "-", "-", "-", "1.00", "1.00", "-", "-", "0.50",
    ]  # fmt: skip
    assert found["outside_mask"][:2] == ["-", "1.00"]


def test_a_domain_that_is_missing():
    digits = cells([run for run in RUNS if run["setup"]["domain"] == "digits"])["our rule"]
    assert digits == ["1.00", "-", "-", "-", "-", "1.07", "1.00", *["-"] * 9]
    shapes = cells([run for run in RUNS if run["setup"]["domain"] == "shapes"])["border_energy"]
    assert shapes == ["-", "0.00", *["-"] * 14]
    assert len(baseline_table([]).splitlines()) == 2
