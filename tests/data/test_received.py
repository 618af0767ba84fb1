"""Images and labels of a batch, as the user's own step gives them to the network and to the loss."""

import functools

import pytest
import torch
import torch.nn.functional as F
from support.observed_steps import Plain
from support.observed_steps_rare import CASES

from lightning_cam.attribution.preserve import leaving_no_trace
from lightning_cam.data.nested import leaves
from lightning_cam.data.observed_call import observed_call
from lightning_cam.data.observed_step import StepObserver
from lightning_cam.data.received import (
    as_labels,
    batch_before,
    labels_of,
    of_observed_batch,
    of_parts,
    of_step,
    reads_parts,
)

SEEN = [name for name, facts in CASES.items() if facts.way != "unseen"]
COMPUTED = [name for name in SEEN if not CASES[name].image_is_plain or not CASES[name].plain]
RANDOM = ("NoiseInTheStep",)  # other noise each time


def observe(module, batch):
    with StepObserver(module) as observer, torch.no_grad():
        module.validation_step(batch, 0)
    return observed_call(observer.record)


def two(name):
    """What was seen of one batch, and another batch with what is seen of that."""
    module, batch = CASES[name].make()
    seen = observe(module.eval(), batch)
    torch.manual_seed(7)
    other = type(module).batch()
    kept = {path: tensor.clone() for path, tensor in leaves(other)}
    own = observe(module, other)
    for path, tensor in leaves(other):
        tensor.copy_(kept[path])  # as it was before a step that wrote into it
    return module, seen, other, own


@pytest.mark.parametrize("name", SEEN)
def test_another_batch_is_read_as_its_own_step_shows_it(name: str) -> None:
    module, seen, other, own = two(name)
    images, labels = of_observed_batch(own)
    read = (
        of_parts(seen, other)
        if reads_parts(seen)
        else of_step(seen, module, other, functools.partial(leaving_no_trace, module))
    )
    if name not in RANDOM:
        torch.testing.assert_close(read[0], images, rtol=0, atol=0)
    assert (read[1] is None) == (labels is None)
    if labels is not None:
        assert read[1].flatten().tolist() == labels.flatten().tolist()  # in whichever shape


@pytest.mark.parametrize("name", COMPUTED)
def test_running_a_step_up_to_its_loss_changes_nothing(name: str) -> None:
    module, seen, other, _ = two(name)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    kept = {path: tensor.clone() for path, tensor in leaves(other)}
    random = torch.random.get_rng_state()
    of_step(seen, module, other, functools.partial(leaving_no_trace, module))
    assert torch.equal(random, torch.random.get_rng_state())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert all(torch.equal(tensor, kept[path]) for path, tensor in leaves(other))


@pytest.mark.parametrize("name", ["WritesIntoTheBatch", "NetworkWritesIntoItsImages", "LabelsWrittenInto"])
def test_the_observed_batch_is_given_as_it_was_before_the_step(name: str) -> None:
    module, batch = CASES[name].make()
    kept = {path: tensor.clone() for path, tensor in leaves(batch)}
    seen = observe(module.eval(), batch)
    assert any(not torch.equal(tensor, kept[path]) for path, tensor in leaves(batch))
    assert all(torch.equal(tensor, kept[path]) for path, tensor in leaves(batch_before(seen)))


class NoNetworkForSome(Plain):
    def validation_step(self, batch, batch_idx):
        if batch[0].mean() > 10:
            return None
        return F.cross_entropy(self(batch[0] - 0.5 * batch[0].roll(1)), batch[1])


def test_a_batch_that_never_reaches_the_network_is_an_error_with_a_remedy() -> None:
    module = NoNetworkForSome().eval()
    images, labels = NoNetworkForSome.batch()
    seen = observe(module, (images, labels))
    with pytest.raises(ValueError, match=r"gave the network none of this batch; say where with images="):
        of_step(seen, module, (images + 100, labels), functools.partial(leaving_no_trace, module))


def test_a_batch_that_is_built_otherwise_is_an_error() -> None:
    module, batch = CASES["Control"].make()
    seen = observe(module.eval(), batch)
    with pytest.raises(KeyError):
        of_parts(seen, batch[:1])
    assert torch.equal(labels_of(seen, batch), batch[1])


HOT = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("values", "task", "expected"),
    [
        (torch.tensor([2, 0]), "multiclass", torch.tensor([2, 0])),
        (torch.tensor([[2], [0]]), "multiclass", torch.tensor([2, 0])),
        (torch.tensor([2.0, 0.0]), "multiclass", torch.tensor([2, 0])),
        (HOT, "multiclass", torch.tensor([1, 0])),
        (torch.tensor([[1.0], [0.0]]), "binary", torch.tensor([1, 0])),
        (torch.tensor([True, False]), "binary", torch.tensor([1, 0])),
        (torch.tensor([0.9, 0.1]), "binary", torch.tensor([1, 0])),
        (HOT, "multilabel", HOT),
        (torch.tensor([[45.5], [30.0]]), "regression", torch.tensor([45.5, 30.0])),
        (HOT, "regression", HOT),
        (torch.tensor([45, 30]), "regression", torch.tensor([45.0, 30.0])),
        (torch.tensor([[2], [0]]), "auto", torch.tensor([2, 0])),
        (torch.tensor([2, 0]), "none", None),
        (torch.tensor([2, 0, 1]), "multiclass", None),  # not one an image
        (torch.zeros(2, 4, 4), "regression", None),  # one a pixel
        (None, "multiclass", None),
    ],
)
def test_labels_as_their_task_has_them(values, task: str, expected) -> None:
    found = as_labels(values, task, 2)
    assert (found is None) == (expected is None)
    if expected is not None:
        torch.testing.assert_close(found, expected)
        assert found is not values
