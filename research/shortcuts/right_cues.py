"""Which cues name what was planted.

Written from what each artefact is, as artefacts.py and artefacts_more.py make it, without a look at what the rule found; the first
runs of Fashion-MNIST's first confirmation were judged at about the same time. A cue is right where the artefact, or a part of it, is just what its swap moves.
"""

from lightning_cam.shortcuts.features import GRID

LAST = GRID - 1
BORDER = ("border_8", "border_16")
CORNERS = tuple(f"cell_{row}_{column}" for row in (0, LAST) for column in (0, LAST))
TOP, BOTTOM = (tuple(f"cell_{row}_{column}" for column in range(GRID)) for row in (0, LAST))
LEFT = tuple(f"cell_{row}_0" for row in range(GRID))
ANYWHERE = tuple(f"cell_{row}_{column}" for row in range(GRID) for column in range(GRID))
COLOUR = ("colour_mean", "colour")
FOCUS = ("sharpness", "detail")

RIGHT_CUES: dict[str, tuple[str, ...]] = {
    # in one place
    "corner_patch": (*CORNERS, *BORDER),
    "corner_tag": (*CORNERS, *BORDER),
    "logo": (*TOP, *BOTTOM, *BORDER),  # a word is wider than a corner
    "ticks": (*LEFT, *BOTTOM, *BORDER),
    "frame": BORDER,
    "watermark": (*ANYWHERE, "detail"),  # 12 pixels at one place of the run, of bits that are 3 pixels wide
    "hyperintensity": (*ANYWHERE, "spot"),
    "obstruction": (*ANYWHERE, *BORDER, "spot"),  # its bars reach from edge to edge
    "vignette": (*CORNERS, *BORDER),
    # at random places
    "random_patch": ("spot",),
    "timestamp": (*BOTTOM, *BORDER, "spot"),  # somewhere along the bottom edge
    # all over, always alike at the same place
    "stripes": (*ANYWHERE, *BORDER, "detail"),
    "wide_watermark": (*ANYWHERE, *BORDER),  # smooth, so no detail
    "scan_lines": (*ANYWHERE, *BORDER, "detail"),
    # light and colour
    "tint": (*COLOUR, "tones"),  # each channel's values moved by another amount
    "hue": COLOUR,
    "gamma": (*COLOUR, "tones"),  # the curve moves the mean too
    "brightness": (*COLOUR, "tones"),
    "contrast": (*COLOUR, "tones"),
    "posterize": ("tones", "detail"),  # few values, and edges where they change
    # focus and grain
    "blur": FOCUS,
    "motion_blur": FOCUS,
    "pixelate": FOCUS,
    "noise": FOCUS,
    "jpeg": FOCUS,
    "specks": FOCUS,
    "grating": ("detail",),  # waves of 6 to 9 at random phases
    "chromatic": ("fringes", "detail"),
    # the place that the object is in, and what of it shows at the edge
    "background": ("background", *BORDER),
}
