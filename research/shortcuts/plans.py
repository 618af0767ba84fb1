"""Which runs the study consists of: what the rule is tuned on, and what it is judged by."""

from collections.abc import Callable, Sequence

from research.shortcuts.artefacts import IN_COLOR, KNOWN, NEW, UNDESIGNED
from research.shortcuts.domains import HONEST
from research.shortcuts.fashion import GROUPS
from research.shortcuts.setups import Setup

ALL = (*KNOWN, *UNDESIGNED)
GREY = (
    "corner_tag",
    "wide_watermark",
    "frame",
    "blur",
    "brightness",
    "contrast",
)  # what Fashion-MNIST was tuned on
# Not "vignette": on garments, which are in the middle, the one network that was tried relied on it by 0.12 only.
GREY_NEW = (
    "ticks", "specks", "noise", "jpeg", "hyperintensity", "obstruction", "motion_blur", "scan_lines", "timestamp", "pixelate",
)  # fmt: skip
SUBSETS = tuple(f"fashion_{name}" for name in GROUPS)
TASKS = ("composites_animals", "composites_plants")


def each(
    domain: str,
    families: tuple[str, ...],
    kind: str,
    seeds: range,
    correlation: float = 1.0,
    strength: float = 1.0,
) -> list[Setup]:
    return [Setup(domain, family, kind, seed, correlation, strength) for seed in seeds for family in families]


def clean(domain: str, seeds: range) -> list[Setup]:
    return [Setup(domain, None, "clean", seed) for seed in seeds]


def clean_of(domains: tuple[str, ...], seeds: range) -> list[Setup]:
    return [setup for domain in domains for setup in clean(domain, seeds)]


def tuning() -> list[Setup]:
    """Seeds from 100; what the rules are tuned on."""
    return [
        *each("digits", KNOWN, "coded", range(100, 102)), *clean("digits", range(100, 104)),
        *clean_of(HONEST, range(100, 101)),
        *each("digits", KNOWN, "one", range(100, 102)),
        *each("digits", KNOWN, "broken", range(100, 101)), *each("digits", KNOWN, "decoy", range(100, 101)),
        *each("digits", KNOWN, "coded", range(100, 101), correlation=0.9),
        *clean("binary_digits", range(100, 102)), *each("binary_digits", KNOWN, "coded", range(100, 101)),
        *clean_of(HONEST, range(101, 102)),
        *each("digits", KNOWN, "coded", range(102, 103)), *clean("digits", range(104, 106)),
        *clean("shapes", range(100, 104)), *each("shapes", KNOWN, "coded", range(100, 101)),
        *each("shapes", KNOWN, "one", range(100, 101)), *each("shapes", KNOWN, "broken", range(100, 101)),
        *each("shapes", KNOWN, "decoy", range(100, 101)), *each("shapes", KNOWN, "coded", range(100, 101), correlation=0.9),
        *each("digits", KNOWN, "one", range(102, 104)), *each("digits", KNOWN, "coded", range(101, 103), correlation=0.9),
    ]  # fmt: skip


def fashion_tuning() -> list[Setup]:
    """Seeds below 100; what the rules are tuned on as well."""
    return [
        *clean("fashion", range(6)), *each("fashion", GREY, "coded", range(10, 12)),
        *each("fashion", GREY, "one", range(15, 16)), *each("fashion", GREY, "coded", range(13, 14), correlation=0.9),
        *each("fashion", GREY[:3], "broken", range(12, 13)), *each("fashion", GREY[:3], "decoy", range(12, 13)),
        *clean_of(SUBSETS, range(2)),
    ]  # fmt: skip


def digits() -> list[Setup]:
    """Seeds from 200, as in all plans for the digits and shapes below: earlier rules were seen on those before."""
    return [
        *each("digits", ALL, "coded", range(200, 204)), *each("digits", ALL, "one", range(200, 202)),
        *each("digits", KNOWN, "coded", range(200, 202), correlation=0.9),
        *each("binary_digits", KNOWN, "coded", range(200, 202)),
    ]  # fmt: skip


def shapes() -> list[Setup]:
    return [
        *each("shapes", ALL, "coded", range(200, 203)), *each("shapes", ALL, "one", range(200, 202)),
        *each("shapes", KNOWN, "coded", range(200, 202), correlation=0.9),
    ]  # fmt: skip


def controls() -> list[Setup]:
    """Artefacts that the network had no reason to use."""
    return [
        *each("digits", ALL, "broken", range(200, 202)), *each("digits", ALL, "decoy", range(200, 202)),
        *each("shapes", ALL, "broken", range(200, 202)), *each("shapes", ALL, "decoy", range(200, 202)),
    ]  # fmt: skip


def honest() -> list[Setup]:
    return [
        *clean("digits", range(200, 230)),
        *clean("shapes", range(200, 230)),
        *clean("binary_digits", range(200, 210)),
    ]


def honest_tasks() -> list[Setup]:
    """Colour, texture or position is the class; digits that fill the frame; one class of ten against the others."""
    return clean_of(HONEST, range(200, 205))


def new_families() -> list[Setup]:
    """Without "hue": colours of digits and shapes are random, so turning them leaves nothing to be learned."""
    families = tuple(family for family in NEW if family not in IN_COLOR)
    return [
        *each("digits", families, "coded", range(200, 202)),
        *each("shapes", families, "coded", range(200, 201)),
    ]


def photographs() -> list[Setup]:
    return [
        *each("photographs", ALL, "coded", range(200, 202)), *each("photographs", ALL, "one", range(200, 201)),
        *each("photographs", ALL, "coded", range(200, 201), correlation=0.9), *clean("photographs", range(200, 206)),
        *each("photographs", KNOWN, "broken", range(200, 201)), *each("photographs", KNOWN, "decoy", range(200, 201)),
    ]  # fmt: skip


def fashion_first() -> list[Setup]:
    """Seeds from 100: the first confirmation. The rule was changed after 97 of its runs, so it is tuning now."""
    return fashion_from(100)


def fashion() -> list[Setup]:
    """Confirmation of the changed rule, seeds from 300."""
    return fashion_from(300)


def fashion_from(seed: int) -> list[Setup]:
    """106 planted runs, 76 others, of the seeds from one on."""

    def seeds(first: int, end: int) -> range:
        return range(seed + first, seed + end)

    partly = ("corner_tag", "hyperintensity", "obstruction")
    return [
        *clean("fashion", seeds(0, 20)),
        *each("fashion", (*GREY, *GREY_NEW), "coded", seeds(0, 2)),
        *each("fashion", (*GREY, *GREY_NEW), "one", seeds(2, 4)),
        *each("fashion", (*GREY, *GREY_NEW[:6]), "coded", seeds(4, 6), correlation=0.9),
        *[
            setup for share in (0.2, 0.5, 0.8)
            for setup in each("fashion", partly, "one", seeds(6, 8), correlation=share)
        ],
        *clean_of(SUBSETS, seeds(0, 4)), *clean("fashion_augmented", seeds(0, 8)),
        *each("fashion", (*GREY, *GREY_NEW[:8]), "broken", seeds(8, 9)),
        *each("fashion", (*GREY, *GREY_NEW[:8]), "decoy", seeds(9, 10)),
    ]  # fmt: skip


def composites() -> list[Setup]:
    """Confirmation, seeds from 100: run it once, when the rule is frozen. Even seeds train the head, odd ones the last stages too."""
    looks = ("corner_tag", "blur", "jpeg")
    return [
        setup
        for task in TASKS
        for setup in (
            *clean(task, range(100, 108)),
            *each(task, ("background",), "coded", range(100, 102)),
            *each(task, ("background",), "coded", range(102, 104), correlation=0.95),
            *each(task, looks, "coded", range(104, 106)),
            *each(task, ("hue",), "coded", range(104, 106)),
            *each(task, ("brightness",), "coded", range(104, 106), strength=0.5),
            *each(task, ("logo", "hyperintensity"), "one", range(106, 108)),
            *each(task, ("background", *looks, "logo"), "broken", range(108, 109)),
            *each(task, (*looks, "logo"), "decoy", range(109, 110)),
        )
    ] + clean("composites_four", range(100, 104))


PLANS: dict[str, Callable[[], list[Setup]]] = {
    "tuning": tuning,
    "fashion_tuning": fashion_tuning,
    "digits": digits,
    "shapes": shapes,
    "controls": controls,
    "honest": honest,
    "honest_tasks": honest_tasks,
    "new_families": new_families,
    "photographs": photographs,
    "fashion_first": fashion_first,
    "fashion": fashion,
    "composites": composites,
}
TUNING = ("tuning", "fashion_tuning", "fashion_first")
CONFIRMATION = ("fashion", "composites", "photographs")


def chosen_plans(names: Sequence[str] | None) -> list[str]:
    """Each plan that is named, once, in this order; all of them without a name, or where "all" is one."""
    return list(PLANS) if not names or "all" in names else list(dict.fromkeys(names))
