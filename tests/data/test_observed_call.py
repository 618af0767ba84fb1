"""What an observed step is taken for: one row per way in which people write a validation step."""

from contextlib import contextmanager

import pytest
import torch
from support.observed_steps import Net, Plain, images
from support.observed_steps_rare import CASES

from lightning_cam.data.nested import part_at
from lightning_cam.data.observed_call import observed_call
from lightning_cam.data.observed_choice import Preferences
from lightning_cam.data.observed_facts import ObservedCall
from lightning_cam.data.observed_step import StepObserver
from lightning_cam.data.observed_words import disagreement
from lightning_cam.data.replay import check_replay


def observe(module, batch, **preferences) -> ObservedCall:
    module.eval()
    with StepObserver(module) as observer, torch.no_grad():
        module.validation_step(batch, 0)
    assert observer.record is not None
    assert observer.record.trouble is None
    return observed_call(observer.record, Preferences(**preferences))


@contextmanager
def evaluation():
    with torch.random.fork_rng():
        yield


@pytest.mark.parametrize("name", CASES)
def test_each_step_is_read_as_it_is_written(name: str) -> None:
    facts = CASES[name]
    seen = observe(*facts.make(), classes=facts.classes)
    assert seen.way == facts.way, seen.sentences
    assert seen.network == facts.network
    assert seen.image_part == facts.image
    if facts.image is not None and seen.image is not None:
        assert (seen.image.part is not None) == facts.image_is_plain
    if facts.scores is not None:
        assert seen.scores == facts.scores
    assert (seen.label.part if seen.label else None) == facts.label
    if seen.label is not None:
        assert seen.label.is_plain == facts.plain
    assert seen.task == facts.task
    assert seen.loss == facts.loss
    assert seen.is_dense == facts.dense
    if facts.form is not None:
        assert seen.form == facts.form


@pytest.mark.parametrize("name", CASES)
def test_what_is_open_is_said_and_nothing_else(name: str) -> None:
    facts = CASES[name]
    seen = observe(*facts.make(), classes=facts.classes)
    first, *rest = seen.sentences
    assert first.startswith("could not see" if facts.way == "unseen" else "explains ")
    if facts.loss is None and facts.label is not None:
        assert "no loss was seen" in first
        assert "is assumed to be the label" in first
    for expected in facts.says:
        assert any(expected in sentence for sentence in rest), (expected, rest)
    assert len(rest) == len(facts.says), rest
    assert [(one.argument, one.value) for one in seen.alternatives] == facts.others


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].way != "unseen"])
def test_what_is_read_replays_to_the_same_scores(name: str) -> None:
    facts = CASES[name]
    module, batch = facts.make()
    seen = observe(module, batch, classes=facts.classes)
    check = check_replay(seen, module, evaluation)
    assert check.is_equal == facts.equal, check
    assert check.whole == 0, check
    assert check.rows_are_independent == facts.half, check
    assert bool(check.sentence) == (not facts.half), check.sentence


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].others])
def test_following_an_alternative_leads_there(name: str) -> None:
    facts = CASES[name]
    before = observe(*facts.make())
    for one in before.alternatives:
        seen = observe(*facts.make(), **{one.argument: one.value})
        if one.argument == "network":
            assert seen.network == one.value
        elif one.argument == "scores":
            assert seen.scores == (one.value,)
        else:
            expected = one.value if isinstance(one.value, tuple) else (one.value,)
            assert seen.image_part == expected


def test_the_label_follows_the_output_that_was_asked_for() -> None:
    seen = observe(*CASES["TwoTasks"].make(), scores="gender")
    assert seen.label is not None
    assert seen.label.part == (1,)
    assert seen.scores == ("gender",)
    seen = observe(*CASES["SeveralExits"].make(), scores=-2)
    assert seen.scores == (0,)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].label is not None])
def test_the_labels_values_are_those_that_the_loss_got(name: str) -> None:
    facts = CASES[name]
    module, batch = facts.make()
    _, original = facts.make()
    seen = observe(module, batch)
    assert seen.label is not None
    values, part = seen.label.values, part_at(original, facts.label or ())
    if values is None:
        assert part.ndim > 2 or name == "RowsLeftOut"
    elif facts.plain:
        assert torch.equal(values.flatten().double(), part.flatten().double())
    else:
        expected = {
            "LabelsFromOne": lambda: part - 1,
            "LabelsFromOneWiderHead": lambda: part - 1,
            "LabelsWrittenInto": lambda: part - 1,
            "Coral": lambda: part[:, None] > torch.arange(3),
            "OneHotInTheStep": lambda: torch.eye(4)[part],
            "BrierScore": lambda: torch.eye(4)[part],
        }[name]()
        assert torch.equal(values.double(), expected.double())


def test_a_network_that_takes_no_images_is_told_with_those_that_do() -> None:
    seen = observe(*CASES["MeanTeacher"].make(), network="student")
    assert seen.way == "unseen"
    said = (
        "network: your validation_step gives no images to 'student'; it gives some to 'net', 'net.features', "
    )
    assert seen.sentences[0].startswith(said)
    assert "'teacher'" in observe(*CASES["DistillationByTheStep"].make(), network="student").sentences[0]
    assert observe(*CASES["DistillationByTheStep"].make(), network="teacher").network == "teacher"


def test_labels_that_are_not_the_losss_own_are_told() -> None:
    module, batch = CASES["CoarseAndFine"].make()
    seen = observe(module, batch)
    assert disagreement(seen, batch[2]) == ""
    assert disagreement(seen, batch[1]) == (
        "labels: other numbers than your cross_entropy compares with, which come from batch[2]"
    )
    assert disagreement(observe(*CASES["OnlyReturns"].make()), batch[1]) == ""


def test_missing_labels_are_the_parts_own() -> None:
    class Missing(Plain):
        @staticmethod
        def batch():
            return images(), torch.where(torch.arange(8) < 6, torch.rand(8), torch.nan)[:, None].expand(
                8, 4
            ).clone()

        def validation_step(self, batch, batch_idx):
            loss = torch.nn.functional.mse_loss(self(batch[0]), batch[1].float(), reduction="none")
            return loss[~loss.isnan()].mean()

    seen = observe(Missing(), Missing.batch())
    assert seen.label is not None
    assert seen.label.is_plain
    assert seen.task == "regression"


EXPLAINED = {
    "FeaturesAndLogits": "explains output 1 of self(batch[0]), which your cross_entropy compares with batch[1]",
    "BoneAge": 'explains self(batch["image"]), which your mse_loss compares with batch["boneage"]',
    "DataclassBatch": "explains self(batch.picture), which your cross_entropy compares with batch.truth",
    "CallsTheNetwork": "explains self.net(batch[0]), which your cross_entropy compares with batch[1]",
    "CropsInTheStep": "explains self(images), which your cross_entropy compares with batch[1]",
    "LabelsFromOne": 'explains self(batch["image"]), which your cross_entropy compares with what your step computes from batch["target"]',
    "HeadInTheLoss": "explains what your cross_entropy takes, which your step computes from batch[0] and compares with batch[1]",
    "ByGather": "explains self(batch[0]); no loss was seen: batch[1], with which your step first compares it (gather), is assumed to be the label",
    "TwoTasks": 'explains output "race" of self(batch[0]), which your cross_entropy compares with batch[2]',
}  # fmt: skip


@pytest.mark.parametrize("name", EXPLAINED)
def test_the_one_line_that_tells_what_is_explained(name: str) -> None:
    assert observe(*CASES[name].make()).sentences[0] == EXPLAINED[name]


def test_the_parts_of_a_step_that_are_too_new_for_a_rule_are_refused() -> None:
    """Nothing seen is a value, with its sentence."""

    class Nothing(Plain):
        def validation_step(self, batch, batch_idx):
            return None

    seen = observe(Nothing(), Plain.batch())
    assert (seen.way, seen.network, seen.label, seen.task) == ("unseen", None, None, "none")
    assert seen.sentences == ("could not see which network your validation_step runs; assumed self(images)",)


def test_a_global_network_is_not_seen_but_its_label_is() -> None:
    network = Net()

    class Global(Plain):
        def validation_step(self, batch, batch_idx):
            return torch.nn.functional.cross_entropy(network(batch[0]), batch[1])

    seen = observe(Global(), Plain.batch())
    assert (seen.way, seen.network, seen.loss, seen.task) == ("unseen", None, "cross_entropy", "multiclass")
    assert seen.label is not None
    assert seen.label.part == (1,)
