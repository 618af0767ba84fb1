"""The tensors' names and shapes.

``n`` images, ``c`` colours, ``k`` channels, ``C`` classes. ``size`` is the image's: H W, of signals T, of
volumes D H W; ``grid`` is the target layer's resolution: h w, or likewise one or three numbers.
"""

from jaxtyping import Bool, Float, Int, Num, UInt8
from torch import Tensor

Images = Num[Tensor, "n c *size"]
Labels = Int[Tensor, " n"]
Truth = Num[Tensor, "n *C"]  # labels (n,), several per image (n, C), or numbers of a regression
Flags = Int[Tensor, "n K"]  # of several labels per image, those that are tested: zeros and ones, -1 not known
Conflicts = Bool[Tensor, "m K"]  # in which labels host and donor of a pair differ
Masks = Bool[Tensor, "n *size"]
Scores = Float[Tensor, "n C"]
Outputs = Float[
    Tensor, "n C *positions"
]  # scores, or what else a target function reads: one score per class and position
PerImage = Float[Tensor, " n"]
Rows = Num[Tensor, "m c *size"]  # m copies of images, covered or noisy
RowActivations = Float[Tensor, "m k *grid"]
Index = Int[Tensor, " m"]  # which image each row is of
PerRow = Float[Tensor, " m"]
Activations = Float[Tensor, "n k *grid"]
Gradients = Float[Tensor, "n k *grid"]
Cams = Float[Tensor, "n *grid"]
Saliency = Float[Tensor, "n *size"]
Components = Int[Tensor, "n *size"]
Boxes = Int[Tensor, "boxes corners"]  # of one image: x1 y1 x2 y2
Signals = Float[Tensor, "n c T"]
Shown = Float[Tensor, "n shown *size"]  # images in [0, 1], of the channels that are shown
FlatMaps = Float[Tensor, "n k H W"]  # k maps of each image, as 2-D pictures
Rgb = Float[Tensor, "n 3 H W"]
ColorTable = Float[Tensor, "256 3"]
Resized = Float[Tensor, "n 3 height width"]
Tiles = UInt8[Tensor, "n height width 3"]
Picture = UInt8[Tensor, "height width 3"]
Mask = Bool[Tensor, "height width"]
