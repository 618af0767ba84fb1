"""Which rows of the table a run belongs to, in which order, and the marks that the rows were to reach."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from research.shortcuts.artefacts import KNOWN, NEW, UNDESIGNED
from research.shortcuts.domains import HONEST
from research.shortcuts.plans import GREY, GREY_NEW, TUNING

DRAWN = ("digits", "shapes", "two digits")
ALL_DRAWN, ALL_REAL = "digits and shapes, all", "real data, all"
SEVEN, FIVE, NEW_ONES, TUNED = (
    "seven families",
    "five that no cue was made for",
    "new families",
    "families of tuning",
)
PARTS = ("tuning", "confirmation")
ALL = "all"
MARKS = {  # the least share warned, by data, kind and set of families
    **{(data, "class-coded", SEVEN): 0.95 for data in DRAWN[:2]},
    **{(data, "class-coded", some): 0.8 for data in DRAWN[:2] for some in (FIVE, NEW_ONES)},
    **{(data, "class-coded, correlation 0.9", some): 0.8 for data in DRAWN[:2] for some in (ALL, SEVEN)},
    **{(data, "one class", some): 0.7 for data in DRAWN[:2] for some in (ALL, SEVEN)},
    **{("Fashion-MNIST", "class-coded", some): 0.9 for some in (ALL, TUNED, NEW_ONES)},
    **{("Fashion-MNIST", "one class", some): 0.8 for some in (ALL, TUNED, NEW_ONES)},
    **{("Fashion-MNIST", "class-coded, correlation 0.9", some): 0.6 for some in (ALL, TUNED, NEW_ONES)},
    ("composites", "planted", ALL): 0.7,
}
MOST_FALSE = {ALL_DRAWN: 0, ALL_REAL: 1}  # false warnings


@dataclass(frozen=True)
class Group:
    """A row of the table.

    Attributes:
        part: "tuning" or "confirmation": never both in one row.
        families: Which ones; ``ALL`` where the row sums others up, or where there is no artefact.
    """

    part: str
    data: str
    kind: str
    families: str

    @property
    def name(self) -> str:
        return self.kind if self.families == ALL else f"{self.kind}: {self.families}"


def part_of(plan: str) -> str:
    return PARTS[0] if plan in TUNING else PARTS[1]


def data_of(domain: str) -> str:
    """What the domain is called."""
    if domain.startswith("composites"):
        return "composites"
    if domain.startswith("fashion_") and domain != "fashion_augmented":
        return "Fashion-MNIST, 2 and 3 classes"
    names = {
        "binary_digits": "two digits",
        "fashion": "Fashion-MNIST",
        "fashion_augmented": "Fashion-MNIST, augmented",
    }
    return names.get(domain, domain.replace("_", " "))


def kind_of(setup: dict[str, Any]) -> str:
    """What the run is called."""
    share = setup["correlation"]
    if setup["kind"] == "coded":
        return "class-coded" if share == 1 else f"class-coded, correlation {share:g}"
    if setup["kind"] == "one":
        return "one class" if share == 1 else f"one class, on {100 * share:.0f} % of its images"
    return str(setup["kind"])


def families_of(setup: dict[str, Any]) -> str:
    """Which set of families the run's belongs to; on composites it is named."""
    family = setup["family"]
    if family is None or setup["kind"] not in ("coded", "one"):
        return ALL
    if setup["domain"].startswith("composites"):
        return str(family)
    sets = (
        {TUNED: GREY, NEW_ONES: GREY_NEW}
        if setup["domain"].startswith("fashion")
        else {SEVEN: KNOWN, FIVE: UNDESIGNED, NEW_ONES: NEW}
    )
    return next(name for name, members in sets.items() if family in members)


def groups_of(part: str, setup: dict[str, Any], by_family: bool = False) -> list[Group]:
    """The rows that the run belongs to: its own, and those that sum it up.

    Args:
        by_family: Each family has a row of its own.
    """
    data, kind, families = data_of(setup["domain"]), kind_of(setup), families_of(setup)
    if by_family and families != ALL:
        families = str(setup["family"])
    found = [(data, kind, families)]
    if families != ALL:
        found.append((data, kind, ALL))
        if data == "composites":
            found.append((data, "planted", ALL))
    elif setup["domain"] not in HONEST:
        found.append((ALL_DRAWN if data in DRAWN else ALL_REAL, "honest", ALL))
    return [Group(part, *row) for row in dict.fromkeys(found)]


def ordered(groups: Iterable[Group]) -> list[Group]:
    """Tuning first; digits, shapes, real data, honest tasks; planted runs first; sums before what they sum up. A sum of one row
    alone is left out.
    """
    data = (
        *DRAWN, ALL_DRAWN, "Fashion-MNIST", "Fashion-MNIST, augmented", "Fashion-MNIST, 2 and 3 classes", "composites",
        "photographs", ALL_REAL,
    )  # fmt: skip
    kinds = (
        "planted",
        "class-coded",
        "class-coded, ",
        "one class",
        "one class, ",
        "clean",
        "broken",
        "decoy",
        "honest",
    )
    sets = (ALL, SEVEN, FIVE, TUNED, NEW_ONES)

    def place(group: Group) -> tuple[Any, ...]:
        kind = max(i for i, start in enumerate(kinds) if group.kind.startswith(start))
        return (
            PARTS.index(group.part),
            data.index(group.data) if group.data in data else len(data),
            group.data,
            kind,
            group.kind,
            sets.index(group.families) if group.families in sets else len(sets),
            group.families,
        )

    known = dict.fromkeys(groups)
    beside = [(group.part, group.data, group.kind) for group in known]
    return sorted(
        (
            group
            for group in known
            if group.families != ALL or beside.count((group.part, group.data, group.kind)) != 2
        ),
        key=place,
    )


def mark_of(group: Group) -> float | None:
    """The least share of the runs that rely which the row was to be warned of."""
    return MARKS.get((group.data, group.kind, group.families))
