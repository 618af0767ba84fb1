"""What a monitor has seen, for its user to read at any time."""

from lightning_cam.callbacks.state import Run
from lightning_cam.data.history import History
from lightning_cam.data.probe import Probe
from lightning_cam.data.reading import Reading
from lightning_cam.report.page import framed_record
from lightning_cam.shortcuts.findings import Finding


class Seen:
    """What a run has shown; after a spawned fit, what it showed to the process that trained."""

    _run: Run

    @property
    def probe(self) -> Probe | None:
        """The probe batch; None until the first validation has passed."""
        return self._run.come_home().probe

    @property
    def history(self) -> History:
        """Past looks, the untrained model first."""
        return self._run.come_home().history

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Cues that tell the label and that the model relied on when it was last tested, warnings first."""
        return self._run.come_home().findings

    @property
    def reading(self) -> Reading | None:
        """What is explained, as your ``validation_step`` shows it, and how that was verified; None before the
        first validation. ``print(monitor.reading)`` has one sentence a line.
        """
        return self._run.come_home().reading

    def _repr_html_(self) -> str:
        """The report, in a notebook."""
        return framed_record(self._run.come_home())
