"""What was observed, as a function of images and of the rows that they belong to."""

import pytest
import torch
from support.observed_steps import images
from support.observed_steps_rare import CASES

from lightning_cam.data.observed_call import observed_call
from lightning_cam.data.observed_step import StepObserver
from lightning_cam.data.received import of_observed_batch
from lightning_cam.data.run_again import run_again

NEEDS_ROWS = ("Siamese", "DepthAndPicture", "LateFusion", "LateFusionInTheStep", "ArcFace")
FREE = ("Control", "HeadInTheLoss", "NormalizesInTheStep", "SecondView", "FiveCrops")


def observe(module, batch):
    with StepObserver(module) as observer, torch.no_grad():
        module.validation_step(batch, 0)
    return observed_call(observer.record)


def run_of(name):
    module, batch = CASES[name].make()
    seen = observe(module.eval(), batch)
    known = of_observed_batch(seen)[0]
    return module, seen, known, run_again(seen, known)


@pytest.mark.parametrize("name", [name for name in (*NEEDS_ROWS, *FREE) if name in CASES])
def test_rows_matter_where_other_inputs_go_with_each_image(name: str) -> None:
    _, _, known, run = run_of(name)
    assert run.needs_its_rows == (name in NEEDS_ROWS)
    assert run.knows(known)
    assert run.knows(images()) != run.needs_its_rows


@pytest.mark.parametrize("name", [name for name in (*NEEDS_ROWS, *FREE) if name in CASES])
def test_images_in_another_order_keep_their_scores(name: str) -> None:
    module, _, known, run = run_of(name)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 7, 4])
    index = torch.arange(len(known))
    with torch.no_grad():
        before = run.read(run.network(known)(module, known, index))
        after = run.read(run.network(known[order])(module, known[order], index))
    torch.testing.assert_close(after, before[order], rtol=1e-6, atol=1e-6)


def test_probabilities_are_told() -> None:
    assert run_of("SigmoidInForward")[3].are_probabilities
    assert not run_of("Control")[3].are_probabilities
