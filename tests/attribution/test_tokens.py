"""Where the patch tokens of a named layer stand."""

import pytest
import torch
from support.layers import Block
from torch import Tensor, nn

from lightning_cam import explain
from lightning_cam.attribution.layout import Layout
from lightning_cam.attribution.tokens import placed, prefix_tokens


class Resizing(nn.Module):
    """A ViT of 8 x 8 patches that resizes its images to 64 x 64; only what is bright counts, so a map shows it."""

    def __init__(self, side: int = 64, prefix: int = 1, convolution: bool = True) -> None:
        super().__init__()
        self.side, self.convolution = side, convolution
        self.embed = nn.Conv2d(3, 8, 8, stride=8) if convolution else nn.Linear(192, 8)
        self.token = nn.Parameter(torch.zeros(1, prefix, 8))
        self.norm, self.block, self.head = nn.LayerNorm(8), Block(), nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        images = nn.functional.interpolate(images, (self.side, self.side))
        if self.convolution:
            patches = self.embed(images).flatten(2).mT
        else:
            patches = self.embed(nn.functional.unfold(images, 8, stride=8).mT)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], dim=1)
        return self.head(self.block(self.norm(tokens)).mean(dim=1))


@pytest.mark.parametrize("size", [(48, 64), (60, 80), (32, 48), (64, 64), (100, 10)])
@pytest.mark.parametrize("prefix", [1, 5])
def test_a_network_that_resizes_has_the_grid_of_its_convolution(size: tuple[int, int], prefix: int) -> None:
    """64 patches and a token were read as 6 x 9 and 11 tokens before them, as the image's sides are 32 x 48."""
    torch.manual_seed(0)
    model, images = Resizing(prefix=prefix).eval(), torch.rand(2, 3, *size)
    found = explain(model, images, target=0, target_layer="norm")
    assert found.cams.shape == (2, 8, 8)
    resized = nn.functional.interpolate(images, (64, 64))
    expected = explain(model, resized, target=0, target_layer="norm").cams
    torch.testing.assert_close(found.cams, expected)


def test_a_network_that_resizes_is_looked_at_by_itself() -> None:
    torch.manual_seed(0)
    assert explain(Resizing().eval(), torch.rand(2, 3, 32, 48)).cams.shape == (2, 8, 8)


@pytest.mark.parametrize("size", [(48, 64), (60, 80), (32, 48)])
def test_more_tokens_before_the_patches_than_the_model_has_are_refused(size: tuple[int, int]) -> None:
    """Without a convolution only the proportions tell, and here these are not the image's."""
    model = Resizing(convolution=False).eval()
    with pytest.raises(ValueError, match=r"target_layer: 'norm' yields a float32 tensor \(2, 65, 8\)"):
        explain(model, torch.rand(2, 3, *size), target_layer="norm")
    assert explain(model, torch.rand(2, 3, 64, 64), target_layer="norm").cams.shape == (2, 8, 8)


def test_tokens_on_no_grid_that_a_convolution_had_are_refused_with_those() -> None:
    class Queries(Resizing):
        def forward(self, images: Tensor) -> Tensor:
            patches = self.embed(images).flatten(2).mT
            return self.head(self.block(self.norm(patches[:, :25])).mean(dim=1))

    with pytest.raises(ValueError, match=r"\(2, 25, 8\) .* that a convolution before it had: 8 x 8\."):
        explain(Queries().eval(), torch.rand(2, 3, 64, 64), target_layer="norm")


PLAIN = nn.ReLU()


@pytest.mark.parametrize(
    ("guess", "tokens", "known", "expected"),
    [
        (Layout((6, 9), True, 11), 65, [(8, 8)], Layout((8, 8), True, 1)),
        (Layout((6, 9), True, 11), 65, [(16, 16), (8, 8)], Layout((8, 8), True, 1)),
        (Layout((7, 9), True, 2), 65, [(4, 16), (8, 8)], Layout((8, 8), True, 1)),
        (None, 65, [(8, 8)], Layout((8, 8), True, 1)),
        (None, 65, [(7, 7)], None),
        (None, 65, [], None),
        # A grid that a convolution had holds with any prefix: prompts may be computed.
        (Layout((8, 8), True, 30), 94, [(8, 8)], Layout((8, 8), True, 30)),
        # Merged patches: halves of a known grid, rounded either way.
        (Layout((4, 4), True, 0), 16, [(8, 8)], Layout((4, 4), True, 0)),
        (Layout((2, 2), True, 1), 5, [(8, 8)], Layout((2, 2), True, 1)),
        (Layout((3, 4), True, 0), 12, [(5, 7)], Layout((3, 4), True, 0)),
        (Layout((3, 3), True, 0), 9, [(8, 8)], None),
        # Without a convolution the guess holds, if the model has as many tokens.
        (Layout((8, 8), True, 1), 65, [], Layout((8, 8), True, 1)),
        (Layout((7, 9), True, 2), 65, [], None),
        (Layout((7, 7)), 0, [(3, 3)], Layout((7, 7))),
    ],
)
def test_placed(guess: Layout | None, tokens: int, known: list, expected: Layout | None) -> None:
    model = Resizing()
    shape = (2, tokens, 8) if tokens else (2, 8, 7, 7)
    assert placed(guess, PLAIN, shape, known, model) == expected


def test_a_convolution_yields_no_tokens() -> None:
    assert placed(None, nn.Conv1d(65, 65, 1), (2, 65, 8), [(8, 8)], Resizing()) is None


@pytest.mark.parametrize(
    ("shapes", "most"),
    [
        ([(1, 1, 8)], 1),
        ([(8,)], 1),
        ([(8,), (8,)], 1),
        ([(1, 4, 8), (1, 1, 8)], 5),
        ([(10, 8)], 10),
        ([(1, 197, 8), (1, 1, 8)], 1),
        ([(1, 4, 16)], 0),
        ([(3, 30, 8), (1, 30, 8)], 32),
        ([], 0),
    ],
    ids=[
        "class token",
        "vector",
        "vectors",
        "registers",
        "prompts",
        "positions",
        "another width",
        "many",
        "none",
    ],
)
def test_prefix_tokens(shapes: list[tuple[int, ...]], most: int) -> None:
    model = nn.Module()
    model.kept = nn.ParameterList([nn.Parameter(torch.zeros(shape)) for shape in shapes])
    model.head = nn.Linear(8, 4)  # its weight (4, 8) is none
    # Its bias (4,) has another width.
    assert prefix_tokens(model, 8) == most
