"""The tensors' names and shapes.

``n`` images, ``c`` colours, ``k`` channels, ``C`` classes; ``h w`` is the target layer's resolution, ``H W`` the image's.
"""

from jaxtyping import Bool, Float, Int, Num, UInt8
from torch import Tensor

Images = Num[Tensor, "n c H W"]
Labels = Int[Tensor, " n"]
Masks = Bool[Tensor, "n H W"]
Scores = Float[Tensor, "n C"]
PerImage = Float[Tensor, " n"]

Activations = Float[Tensor, "n k h w"]
Gradients = Float[Tensor, "n k h w"]
Cams = Float[Tensor, "n h w"]
Saliency = Float[Tensor, "n H W"]

Rgb = Float[Tensor, "n 3 H W"]
ColorTable = Float[Tensor, "256 3"]
Resized = Float[Tensor, "n 3 height width"]
Tiles = UInt8[Tensor, "n height width 3"]
