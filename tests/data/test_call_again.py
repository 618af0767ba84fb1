"""The observed call with other images: it holds no batch, and keeps what else was handed over."""

import pytest
import torch
import torch.nn.functional as F
from support.observed_steps import Net, Plain, Task, images, labels
from support.observed_steps_rare import CASES

from lightning_cam.data.call_again import call_again
from lightning_cam.data.nested import leaves
from lightning_cam.data.observed_call import observed_call
from lightning_cam.data.observed_step import StepObserver


def observe(module, batch):
    with StepObserver(module) as observer, torch.no_grad():
        module.validation_step(batch, 0)
    return observed_call(observer.record)


class WithNumbers(Task):
    """Images, a number for each, and an option."""

    def forward(self, x, age, scale=1.0):
        return self.net(x) * scale + age[:, None]

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0], batch[1], scale=2.0), batch[2])

    @staticmethod
    def batch():
        return images(), torch.arange(8.0), labels()


def test_other_arguments_stay_with_their_row() -> None:
    torch.manual_seed(0)
    module = WithNumbers().eval()
    again = call_again(observe(module, WithNumbers.batch()))
    assert again.has_other_rows
    others, rows = images(3), torch.tensor([5, 0, 5])
    with torch.no_grad():
        expected = torch.stack([2 * module.net(others[i][None])[0] + float(rows[i]) for i in range(3)])
        torch.testing.assert_close(again(others, rows), expected)


def test_it_holds_no_images() -> None:
    module, batch = CASES["Control"].make()
    again = call_again(observe(module.eval(), batch))
    assert not again.has_other_rows
    assert [tensor.numel() for _, tensor in leaves(again.arguments)] == [0]
    assert again.count == 8
    with torch.no_grad():
        assert torch.equal(again(batch[0]), module(batch[0]))


def test_a_call_that_was_not_kept_is_an_error() -> None:
    module, batch = CASES["Detection"].make()
    with pytest.raises(ValueError, match="its arguments were not kept"):
        call_again(observe(module.eval(), batch))
    assert isinstance(Plain().net, Net)
