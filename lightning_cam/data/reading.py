"""What a monitor explains, and how that was verified: plain facts that the user reads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lightning_cam.data.observed_facts import ObservedCall
from lightning_cam.data.observed_words import image_facts
from lightning_cam.data.replay import ReplayCheck

VERIFIED, UNVERIFIED = "replayed: equal", "not verified"


@dataclass(frozen=True)
class Reading:
    """What is explained, and how that was verified. ``str`` has one sentence a line.

    A replay proves that the same computation runs, not that it is the one meant.

    Args:
        explained: What is explained, in a sentence.
        task: A key of ``TASKS``.
        network: Name of the submodule that is run, "" for the module itself; None where it was not seen.
        label: What the scores are compared with, as one writes it: batch["label"]; "" where nothing is.
        loss: The function of torch that compares them; "" where none was seen.
        is_verified: Whether the observed batch, run again, gave the same scores.
        facts: What the step does to images.
        notes: What is known of the layers that are looked at.
        cautions: What the user should know, each with a remedy.
    """

    explained: str
    task: str = "auto"
    network: str | None = None
    label: str = ""
    loss: str = ""
    is_verified: bool = False
    facts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """What is explained and how that was verified, in one line."""
        return "; ".join([self.explained, *self.facts, VERIFIED if self.is_verified else UNVERIFIED])

    def __str__(self) -> str:
        """The line, and each note and caution in a line of its own."""
        return "\n".join([self.line, *self.notes, *self.cautions])

    def noted(self, notes: Sequence[str], cautions: Sequence[str]) -> "Reading":
        """The same with more of them."""
        return replace(
            self,
            notes=tuple(dict.fromkeys([*self.notes, *notes])),
            cautions=tuple(dict.fromkeys([*self.cautions, *cautions])),
        )


def reading_of(
    seen: ObservedCall, check: ReplayCheck | None, task: str, cautions: Sequence[str] = ()
) -> Reading:
    """What was observed, in words.

    Args:
        check: Of the replay; None where nothing could be run again.
        task: That which counts, the user's own or the observed one.
        cautions: More of them.
    """
    facts = tuple(image_facts(seen)) if seen.call is not None else ()
    said = [sentence for sentence in seen.sentences[1:] if sentence not in facts]
    if check is not None and check.sentence:
        said.append(check.sentence)
    return Reading(
        explained=seen.sentences[0] if seen.sentences else "",
        task=task,
        network=seen.network,
        label="" if seen.label is None else seen.label.name,
        loss=seen.loss or "",
        is_verified=check is not None and check.is_equal,
        facts=facts,
        cautions=tuple(filter(None, (*said, *cautions))),
    )


def reading_of_function(
    seen: ObservedCall, check: ReplayCheck | None, task: str, cautions: Sequence[str] = ()
) -> Reading:
    """Likewise where a function of the user's own is run, and not what was observed.

    Args:
        check: Of its scores beside the observed ones; None where they cannot be compared.
    """
    said = list(cautions)
    if check is not None and not check.is_equal:
        how = (
            f"its scores differ by {check.whole:.2g} of a spread of {check.spread:.2g}"
            if check.whole
            else check.error
        )
        said.append(f"network: your function gives other scores than your validation_step: {how}")
    label = "" if seen.label is None else seen.label.name
    compared = f", which is compared with {label}" if label else ""
    return Reading(
        explained=f"explains what your function network= gives{compared}",
        task=task,
        network=seen.network,
        label=label,
        loss=seen.loss or "",
        is_verified=check is not None and check.is_equal,
        cautions=tuple(filter(None, said)),
    )
