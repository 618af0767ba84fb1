"""The run that a monitor continues: its record, and how that goes into a checkpoint and comes back."""

import weakref
from dataclasses import replace
from typing import Any

from lightning_cam.callbacks.mailbox import Mailbox
from lightning_cam.checks import Normalization
from lightning_cam.data.dataset import fitting_names
from lightning_cam.data.history import Look
from lightning_cam.data.probe import Probe
from lightning_cam.report.record import STATE_VERSION, RunRecord, record_from, state_of_run


class Run:
    """A record that outlives a fit: a checkpoint keeps it, and the next fit continues it or starts anew.

    Args:
        given: The user's own probe, or None where it is chosen.
        asked: What the looks ask, in words.
        persist_probe: Whether images go into checkpoints.
    """

    def __init__(self, given: Probe | None, asked: str, persist_probe: bool) -> None:
        self._given, self._asked, self._persists = given, asked, persist_probe
        self.record = RunRecord(probe=given)
        self._packed: dict[str, Any] | None = None  # the probe as a checkpoint has it, made once
        self._unconfirmed: dict[str, Any] = {}  # a checkpoint's state until the first look confirms it
        self._data: weakref.ref | None = None  # the dataset that was validated last
        self._mailbox = Mailbox()

    def send_home(self, normalization: Normalization | None) -> None:
        """Leaves the record to the process that started this one, where there is such a process."""
        probe = self.record.probe
        if self._mailbox.is_away and probe is not None:
            self._mailbox.send(state_of_run(self.record, probe.state(normalization), self._asked))

    def come_home(self) -> RunRecord:
        """The record, after a spawned fit that of the process that trained."""
        state = self._mailbox.take()
        if state:
            self.start_again()
            self.record = record_from(state)
        return self.record

    @property
    def is_restored(self) -> bool:
        """Whether a checkpoint was loaded that no look has confirmed yet."""
        return bool(self._unconfirmed)

    def start_again(self) -> None:
        """Forgets everything but the user's own probe."""
        self.record = RunRecord(probe=self._given)
        self._packed, self._unconfirmed = None, {}

    def watch(self, dataset: Any, *, is_new_fit: bool) -> str:
        """Notes which data are validated. Where another fit had others, its probe is dropped, so that one of
        these is chosen; its history goes on if that has the same images.

        Returns:
            A note for the user; nothing where all is as before.
        """
        others = self._data is not None and self._data() is not dataset
        try:
            self._data = weakref.ref(dataset)
        except TypeError:  # a list has none; nobody can tell then
            self._data = None
        if not (is_new_fit and others) or self.record.probe is None or self._given is not None:
            return ""
        self._unconfirmed = self.state(None)
        self.record.drop_probe()
        self._packed = None
        return "the probe is of another fit's validation data, so a new one is chosen from these"

    def __getstate__(self) -> dict[str, Any]:
        """A copy knows no dataset: that is of this process."""
        self.come_home()
        return {**self.__dict__, "_data": None}

    def choose(self, probe: Probe, untrained: Look | None) -> list[str]:
        """Ends the choice of the probe; returns notes for the user.

        Args:
            untrained: What the rehearsal saw of it, which becomes the first look.
        """
        self.record.take(probe)
        notes = self._confirm(probe)
        if untrained is not None and not self.record.history.looks:
            self.record.start(untrained)
            self.record.keep(untrained.means)
        return notes

    def name_rightly(self, probe: Probe, columns: int) -> Probe:
        """The probe, without class names where there is not one for each of so many columns of scores."""
        if probe.class_names != fitting_names(probe.class_names, columns):
            self.record.take(replace(probe, class_names=None))
            return self.record.probe or probe
        return probe

    def confirm(self) -> None:
        """A look has come about: what a checkpoint left is continued."""
        self._unconfirmed = {}

    def refuse(self, reason: Exception) -> str:
        """Lets go of a restored probe that does not fit, so that a new one is chosen.

        Returns:
            A note for the user; nothing where there was no such probe.
        """
        if not self._unconfirmed:
            return ""
        self.start_again()
        return f"the checkpoint's probe does not fit this model, so a new one is chosen ({reason})"

    def state(self, normalization: Normalization | None) -> dict[str, Any]:
        """Plain tensors and primitives; empty before there is a probe."""
        if self._unconfirmed:
            return self._unconfirmed
        return state_of_run(self.record, self.packed(normalization), self._asked)

    def packed(self, normalization: Normalization | None) -> dict[str, Any] | None:
        """The probe as a checkpoint has it; None where it shall not be there."""
        probe = self.record.probe
        if self._packed is None and self._persists and probe is not None:
            self._packed = probe.state(normalization)
        return self._packed

    def load(self, state: dict[str, Any]) -> list[str]:
        """Takes up what ``state`` wrote; returns notes for the user."""
        if not state:
            return []
        if state.get("version") != STATE_VERSION:
            return [
                f"the checkpoint's state has version {state.get('version')}, not {STATE_VERSION}; looks "
                "start anew"
            ]
        self.record = record_from(state, with_images=self._persists)
        self._unconfirmed = state if self._persists else {**state, "probe": None, "evidence": []}
        self._packed = self._unconfirmed["probe"]
        notes = []
        if state["asked"] != self._asked:
            notes.append(
                f"the checkpoint's looks asked {state['asked']!r}, not {self._asked!r}; "
                "the history starts anew"
            )
            self.record.forget_looks()
        if self._given is not None:
            self._packed = None
            self.record.take(self._given)
            notes += self._confirm(self._given)
        return notes

    def _confirm(self, probe: Probe) -> list[str]:
        """Keeps a restored history only where it belongs to these images."""
        known, self._unconfirmed = self._unconfirmed, {}
        if not known or known["fingerprint"] == probe.fingerprint:
            return []
        self.record.forget_looks()
        return ["the probe's images are not those of before; the history starts anew"]
