"""What a monitor explains, and how that was verified: plain facts that the user reads."""

from dataclasses import dataclass

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
        cautions: What the user should know, each with a remedy.
    """

    explained: str
    task: str = "auto"
    network: str | None = None
    label: str = ""
    loss: str = ""
    is_verified: bool = False
    facts: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """What is explained and how that was verified, in one line."""
        return "; ".join([self.explained, *self.facts, VERIFIED if self.is_verified else UNVERIFIED])

    def __str__(self) -> str:
        """The line, and each caution in a line of its own."""
        return "\n".join([self.line, *self.cautions])


def reading_of(
    seen: ObservedCall, check: ReplayCheck | None, task: str, cautions: tuple[str, ...] = ()
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
        cautions=(*said, *cautions),
    )
