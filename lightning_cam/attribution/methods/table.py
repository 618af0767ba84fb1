"""The table of CAM methods: each a function ``(evidence) -> cams`` and a row in ``METHODS``, with its cost
and its use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightning_cam.attribution.evidence import Evidence
from lightning_cam.attribution.methods import activation as activation
from lightning_cam.attribution.methods import gradient as gradient
from lightning_cam.attribution.methods import perturbation as perturbation
from lightning_cam.typing import Activations, Cams


@dataclass(frozen=True)
class Method:
    """A row of ``METHODS``: a function of ``Evidence``, and what a user should know of it.

    Args:
        function: ``(evidence, **options) -> cams``; ``functools.partial`` sets the options.
        source: Who, when.
        gradients: Whether it needs a gradient.
        passes: Forwards per image beyond the look's own, in words.
        use: When to use it.
        parts: ``(evidence, **options) -> (n, parts, *grid)``: for a method that looks at all images at once
            and finds parts that they share; its map is the first of them.
        of_target: Whether the map is that of a target; False where it is the same for every class.
    """

    function: Callable[..., Cams]
    source: str
    gradients: bool
    passes: str
    use: str
    parts: Callable[..., Activations] | None = None
    of_target: bool = True

    def __call__(self, evidence: Evidence, **options: Any) -> Cams:
        """One map per image."""
        return self.function(evidence, **options)


METHODS: dict[str, Callable[..., Cams]] = {
    "gradcam": Method(
        gradient.grad_cam, "Grad-CAM, Selvaraju et al. 2017", True, "none", "the default: cheap, well studied"
    ),
    "gradcam++": Method(
        gradient.grad_cam_plus_plus,
        "Grad-CAM++, Chattopadhay et al. 2018, eq. 19 without an epsilon",
        True,
        "none",
        "several objects of one class",
    ),
    "xgradcam": Method(
        gradient.xgrad_cam,
        "XGrad-CAM, Fu et al. 2020",
        True,
        "none",
        "Grad-CAM where gradients vary over positions",
    ),
    "hirescam": Method(
        gradient.hires_cam,
        "HiResCAM, Draelos and Carin 2020",
        True,
        "none",
        "signed; sums to the score, so no evidence is lost in averaging",
    ),
    "gradcam-elementwise": Method(
        gradient.grad_cam_elementwise,
        "Pillai and Pirsiavash 2021",
        True,
        "none",
        "HiResCAM without what speaks against the class",
    ),
    "layercam": Method(
        gradient.layer_cam,
        "LayerCAM, Jiang et al. 2021",
        True,
        "none",
        "early layers, and several layers fused",
    ),
    "cam": Method(
        gradient.cam,
        "CAM, Zhou et al. 2016",
        True,
        "none",
        "signed; global average pooling and one linear layer only",
    ),
    "eigencam": Method(
        activation.eigen_cam,
        "Eigen-CAM, Muhammad and Yeasin 2020, not centred, sign fixed",
        False,
        "none",
        "no gradient, no class: what stands out",
        of_target=False,
    ),
    "eigengradcam": Method(
        activation.eigen_grad_cam,
        "no paper; the first component of activations times gradients",
        True,
        "none",
        "Eigen-CAM for one class",
    ),
    "kpcacam": Method(
        activation.kpca_cam,
        "KPCA-CAM, Karmani et al. 2024",
        False,
        "none",
        "Eigen-CAM with a kernel",
        of_target=False,
    ),
    "fem": Method(
        activation.fem,
        "FEM, Ahmed Asif Fuad et al. 2020",
        False,
        "none",
        "no gradient, no class: unusually active channels",
        of_target=False,
    ),
    "dff": Method(
        activation.deep_feature_factorization,
        "Deep Feature Factorization, Collins et al. 2018",
        False,
        "none",
        "parts that the images share; sees the whole probe",
        parts=activation.factors,
        of_target=False,
    ),
    "ablationcam": Method(
        perturbation.ablation_cam,
        "Ablation-CAM, Desai and Ramaswamy 2020, divided by the score's size",
        False,
        "the tail, once a channel",
        "gradients that vanish; exact drops",
    ),
    "scorecam": Method(
        perturbation.score_cam,
        "Score-CAM, Wang et al. 2020",
        False,
        "one a channel",
        "no gradient at all; top_k makes it cheaper",
    ),
    "sscam": Method(
        perturbation.ss_cam, "SS-CAM, Wang et al. 2020", False, "35 a channel", "Score-CAM smoothed"
    ),
    "iscam": Method(
        perturbation.is_cam, "IS-CAM, Naidu et al. 2020", False, "10 a channel", "Score-CAM integrated"
    ),
    "smoothgradcam++": Method(
        perturbation.smooth_grad_cam_plus_plus,
        "Smooth Grad-CAM++, Omeiza et al. 2019",
        True,
        "10",
        "noisy gradients",
    ),
    "shapleycam": Method(
        perturbation.shapley_cam,
        "ShapleyCAM, Cai 2025",
        True,
        "1, and two backwards of the tail",
        "curved tails, and target 'probability'",
    ),
    "rise": Method(
        perturbation.rise,
        "RISE, Petsiuk et al. 2018",
        False,
        "1000",
        "the network as a black box; full resolution",
    ),
    "random": Method(
        activation.random_cam, "uniform noise", False, "none", "the baseline to beat", of_target=False
    ),
}
