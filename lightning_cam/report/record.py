"""What the monitor remembers from look to look and from run to run: the probe, the history, the last scalars,
the findings.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from lightning_cam.checks import Normalization
from lightning_cam.data.history import History, Look, history_from
from lightning_cam.data.probe import Probe, probe_from
from lightning_cam.data.sampler import BalancedSampler
from lightning_cam.metrics.statistics import STATISTICS
from lightning_cam.report.evidence_images import EvidenceImages
from lightning_cam.shortcuts.findings import (
    UNTESTED,
    Finding,
    FindingKey,
    follow,
    standing_from,
    standing_state,
)
from lightning_cam.shortcuts.partial_input import PARTS
from lightning_cam.shortcuts.predictivity import OFFERS

STATE_VERSION = 1
Chosen = tuple[Probe, list[int]]  # and each image's serial number, by which the rehearsal knows it


class Memory:
    """Probe, history and last scalars, and how they go into a checkpoint and come back.

    Args:
        probe: The user's probe, or how many images to choose.
        question: What the looks ask, in words: looks that asked another question are not continued.
        persist_probe: Whether the images go into checkpoints.
        warn: Takes notes for the user.
    """

    def __init__(
        self, probe: int | Probe, question: str, persist_probe: bool, warn: Callable[[str], None]
    ) -> None:
        self.given, self.question, self.persist_probe, self.warn = probe, question, persist_probe, warn
        self.start_again()

    def start_again(self) -> None:
        """Forgets everything but the user's own probe."""
        self.probe = self.given if isinstance(self.given, Probe) else None
        self.collector = BalancedSampler(len(self.given) if isinstance(self.given, Probe) else self.given)
        self.history = History()
        self.scalars: dict[str, float] = {}
        self.standing = UNTESTED
        self.album = EvidenceImages()
        self.settings: dict[str, Any] = {}  # of the last look, as primitives: what was asked, how it is drawn
        self.tests = 0  # looks at which shortcuts were looked for
        self.tested: tuple[int, int] | None = None  # images that the last tests were made on, and of how many
        self._rehearsed: tuple[list[int], Look] | None = (
            None  # serial numbers of the rehearsal's images, and the look at them
        )
        self._packed: dict[str, Any] | None = None  # the probe as the checkpoint has it, made once
        self._restored: dict[str, Any] = {}  # a checkpoint's state until the first look confirms it

    @property
    def is_stale(self) -> bool:
        """Whether what is kept is of a run that has ended, and not of the one that is resumed."""
        return (
            not self._restored
        )  # images that an interrupted run rehearsed, or that validate() chose, may be of other data

    def candidates(self, names: tuple[str, ...] | None) -> Chosen:
        """The probe, or what is chosen of it so far, and its images' serial numbers.

        Raises:
            ValueError: There are no images yet.
        """
        if self.probe is not None:
            return self.probe, []
        if self.collector.broken and not self.collector.chosen:
            raise ValueError(
                f"images: all {self.collector.broken} hold values that are not finite (NaN or inf); mend the data."
            )
        if not self.collector.chosen:
            raise ValueError(
                "dataloader_idx: this validation loader gave no batch; name one that holds images."
            )
        probe, serials = self.collector.probe(names)
        return probe.to("cpu"), serials  # the device's memory is the training's

    def rehearse(self, untrained: Look, serials: list[int]) -> None:
        """Keeps the look at the untrained model: at the probe, or at those images that may become part of
        it.
        """
        if self.probe is not None:
            self.history = self.history.added(untrained)
        else:
            self._rehearsed = serials, untrained
            self.collector.end_rehearsal()

    def choose(self, chosen: Chosen) -> None:
        """Ends the choice of the probe; what the rehearsal saw of it becomes the first look."""
        self.probe, serials = chosen
        if self.collector.skipped:
            self.warn(
                f"{self.collector.skipped} images differ in shape from the first one and cannot join the probe"
            )
        if self.collector.broken:
            self.warn(
                f"{self.collector.broken} images hold values that are not finite (NaN or inf) and cannot join the probe"
            )
        self._settle(self.probe)
        known, untrained = self._rehearsed or ([], None)
        rows = torch.tensor([known.index(serial) if serial in known else -1 for serial in serials])
        if untrained is not None and not self.history.looks and (rows >= 0).any():
            self.history = self.history.added(untrained.of(rows))
            self.keep(self.history.looks[-1].means)
        self.collector, self._rehearsed = self.collector.anew(), None

    def add(self, look: Look, blank: float, lasting: bool) -> None:
        """One look more; only its scalars are kept where it is not ``lasting``."""
        self._restored = {}
        self.keep(look.means)
        self.scalars["blank"] = blank
        if lasting:
            self.history = self.history.added(look)

    def keep(self, scalars: Mapping[str, float]) -> None:
        """The last finite values: a scalar that others watch is never NaN and never missing; 0 before there
        is one.
        """
        for name, value in scalars.items():
            self.scalars[name] = value if math.isfinite(value) else self.scalars.get(name, 0.0)

    def logged(self, cues: Iterable[str], is_off: bool) -> dict[str, float]:
        """The last scalars; where no look has come, or none will, also those it might bring, as 0: others may
        watch them.
        """
        if "blank" in self.scalars and not is_off:
            return self.scalars
        may_have_masks = self.probe is None or self.probe.masks is not None
        names = [
            name
            for name, row in STATISTICS.items()
            if may_have_masks or not getattr(row, "needs_masks", False)
        ]
        of_cues = [f"shortcut/{cue}" for cue in cues]
        of_data = (
            [*(f"offer/{name}" for name in OFFERS), *(f"agreement/{name}" for name in PARTS)]
            if of_cues
            else []
        )
        return {**dict.fromkeys([*names, "blank", *of_cues, *of_data], 0.0), **self.scalars}

    def classes(self, most: int) -> list[int]:
        """The probe's classes, or those that it may have, at most so many: the first ones."""
        if self.probe is None:
            labels = [candidate.label for candidate in self.collector.chosen if candidate.label is not None]
        else:
            labels = [] if self.probe.labels is None else self.probe.labels.tolist()
        return list(dict.fromkeys(labels))[:most]

    def judge(
        self,
        dominances: dict[str, float],
        found: Sequence[Finding],
        epoch: int,
        complete: bool,
        pointed: FindingKey | None,
        expected: Sequence[str] = (),
        alarming: Sequence[str] = (),
        tested: tuple[int, int] | None = None,
    ) -> None:
        """What one look's shortcut tests found, beside what earlier ones did; ``complete`` where stage 2 was
        among them.
        """
        self.tests += 1
        self.tested = tested
        findings = follow(self.standing.findings, found, dominances.keys(), epoch, expected, alarming)
        self.standing = self.standing.after(findings, complete, pointed)
        self.album.only(finding.key for finding in self.standing.findings)
        self.keep({f"shortcut/{cue}": value for cue, value in dominances.items()})

    def is_due(self, epoch: int, every_n_epochs: int) -> bool:
        """Whether this block of epochs has no look yet, or has it in this very epoch."""
        epochs = [look.epoch for look in self.history.looks if look.epoch >= 0]
        return not epochs or epoch == epochs[-1] or epoch // every_n_epochs != epochs[-1] // every_n_epochs

    def forget(self, reason: Exception) -> bool:
        """Lets go of a restored probe that does not fit, so that a new one is chosen; says whether there was
        one.
        """
        if not self._restored:
            return False
        self.warn(f"the checkpoint's probe does not fit this model, so a new one is chosen ({reason})")
        self.probe, self._packed, self._restored, self.history = None, None, {}, History()
        return True

    def state(self, normalization: Normalization | None) -> dict[str, Any]:
        """Plain tensors and primitives; empty before there is a probe."""
        if self._restored or self.probe is None:
            return self._restored
        return {
            "version": STATE_VERSION,
            "question": self.question,
            "fingerprint": self.probe.fingerprint,
            "probe": self.packed(normalization),
            "history": self.history.state(),
            "scalars": dict(self.scalars),
            **standing_state(self.standing),
            "tests": self.tests,
            "tested": self.tested,
            "settings": dict(self.settings),
            "sheets": self.album.state() if self.persist_probe else [],
            # For a report where images stay away.
            "size": tuple(self.probe.images.shape[2:]),
            "labels": None if self.probe.labels is None else self.probe.labels.cpu(),
            "class_names": self.probe.class_names,
        }

    def packed(self, normalization: Normalization | None) -> dict[str, Any] | None:
        """The probe as the checkpoint has it; None where it shall not be there."""
        if self._packed is None and self.persist_probe and self.probe is not None:
            self._packed = self.probe.state(normalization)
        return self._packed

    def load(self, state: dict[str, Any]) -> None:
        """Takes up what ``state`` wrote."""
        if state.get("version") != STATE_VERSION:
            if state:
                self.warn(
                    f"the checkpoint's state has version {state.get('version')}, not {STATE_VERSION}; looks start anew"
                )
            return
        self._restored = state if self.persist_probe else {**state, "probe": None, "sheets": []}
        self.history, self.scalars = history_from(state["history"]), dict(state["scalars"])
        self.standing, self.tests = standing_from(state), state.get("tests", 0)
        self.tested = state.get("tested")
        self.settings, self.album = (
            dict(state.get("settings", {})),
            EvidenceImages(self._restored.get("sheets", ())),
        )
        if state["question"] != self.question:
            self.warn(
                f"the checkpoint's looks asked {state['question']!r}, not {self.question!r}; the history starts anew"
            )
            self.history, self.scalars = History(), {}
        if self.probe is not None:
            self._settle(self.probe)
        elif state["probe"] is not None:
            self.probe, self._packed = (
                probe_from(state["probe"]),
                state["probe"] if self.persist_probe else None,
            )

    def _settle(self, probe: Probe) -> None:
        """Keeps a restored history only where it belongs to these images."""
        if self._restored and self._restored["fingerprint"] != probe.fingerprint:
            self.warn("the probe's images are not the checkpoint's; the history starts anew")
            self.history, self.scalars = History(), {}
        self._restored = {}
