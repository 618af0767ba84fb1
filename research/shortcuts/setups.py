"""What a run is trained on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Setup:
    """What a run is trained on.

    Attributes:
        kind: clean: no artefact. coded: it tells the class, in training and validation. one: a single class carries it.
            broken: coded in validation, random in training. decoy: random in both.
        family: Of artefacts; or "background", for composites: in which place the object is.
        correlation: Kind coded: the probability that the artefact is that of the class; else it is another's. Kind one: the share of
            the one class' images that carry it; the other classes never do.
        strength: How much of the artefact is seen; 1: all.
    """

    domain: str
    family: str | None
    kind: str
    seed: int
    correlation: float = 1.0
    strength: float = 1.0

    @property
    def key(self) -> str:
        """A name for its file."""
        return f"{self.domain}-{self.family}-{self.kind}-{self.seed}-correlation{self.correlation:g}-strength{self.strength:g}"
