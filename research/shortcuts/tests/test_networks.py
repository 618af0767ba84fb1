import pytest
import torch

from research.shortcuts.bank import load_model
from research.shortcuts.networks import Classic, Network, Pooled, recipe, restored, trained_state
from research.shortcuts.setups import Setup


@pytest.mark.parametrize(
    ("domain", "seed", "kind", "channels", "side"),
    [("digits", 0, Network, 3, 32), ("fashion", 0, Classic, 1, 28), ("fashion_tops", 1, Pooled, 1, 28)],
)
def test_a_network_for_every_domain(domain, seed, kind, channels, side):
    learned = recipe(domain, seed)
    model = learned.network(seed, 3).eval()
    assert isinstance(model, kind)
    images = torch.randn(2, channels, side, side)
    state = trained_state(model)
    loaded = load_model(state, 3, Setup(domain, None, "clean", seed))
    assert torch.equal(loaded(images), model(images))
    assert model.features(images).ndim == 4
    with torch.no_grad():
        model.head.bias.add_(1) if isinstance(model.head, torch.nn.Linear) else model.head[1].bias.add_(1)
    assert torch.equal(
        loaded(images), load_model(state, 3, Setup(domain, None, "clean", seed))(images)
    )  # a copy


def test_a_state_of_another_network_is_refused():
    with pytest.raises(ValueError, match="give the setup that the state is from"):
        restored(Pooled(3), trained_state(Classic(3)))


def test_only_augmented_runs_are_augmented():
    assert recipe("fashion_augmented", 0).augmented
    assert not recipe("fashion", 0).augmented
