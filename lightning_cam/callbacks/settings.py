"""What was asked of a monitor: frozen, and checked before anything runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_cam.attribution.config import ExplainConfig, ModelConfig
from lightning_cam.attribution.task import check_task
from lightning_cam.callbacks.scalars import check_scalars
from lightning_cam.callbacks.schedule import Schedule, budget_of
from lightning_cam.checks import Normalization, check_class_names, check_normalization, check_whole
from lightning_cam.data.probe import Probe
from lightning_cam.data.sampler import Sampler, sampler_for
from lightning_cam.selectors import check_selector, imported
from lightning_cam.shortcuts.cues import Cue
from lightning_cam.shortcuts.examine import choose_cues
from lightning_cam.visualization.style import Style


@dataclass(frozen=True)
class Inputs:
    """Where a batch holds what the monitor needs, and where the output holds the scores.

    Everything is found where it has a usual place; give only what is not. A function may be given by its
    import path, such as "my_project.first_view".

    Args:
        images: Images (n, c, H, W) of a batch: a key, an index, or a function of the batch; None finds them.
        labels: Likewise the labels: whole numbers (n,); zeros and ones (n, C) where an image may have
            several; or other numbers. A function that returns None says that there are none.
        masks: Likewise the masks (n, H, W), which say where the object is.
        scores: Scores (n, C) of the model's output: a key, an index, or a function of the output; None finds
            them.
        dataloader_idx: Which validation loader is watched, counted from 0.

    Raises:
        TypeError: A selector is neither a key, nor an index, nor a function.
        ValueError: ``dataloader_idx`` is negative.

    Example:
        >>> Inputs(images="view1", labels=lambda batch: batch["meta"]["class"]).dataloader_idx
        0
    """

    images: int | str | Callable | None = None
    labels: int | str | Callable | None = None
    masks: int | str | Callable | None = None
    scores: int | str | Callable | None = None
    dataloader_idx: int = 0

    def __post_init__(self) -> None:
        for argument in ("images", "labels", "masks", "scores"):
            check_selector(argument, getattr(self, argument))
        check_whole("dataloader_idx", self.dataloader_idx, 0)


@dataclass(frozen=True)
class ShortcutTests:
    """Which cues are tested as possible shortcuts, which of them the model may use, and what a warning does.

    A cue is one property of an image: its border, a corner, its colours, its sharpness, its background. Two
    things are measured. Its predictivity: how well the label can be told from the cue alone, without the
    model, over the first validation. And, at each look, where it tells the label, the model's reliance: how
    many points of accuracy are lost on the probe when the cue comes from an image of another class rather
    than from another image of the same class. Where both are high at one look, there is a notice; at two in a
    row, a warning.

    Args:
        cues: Keys of ``CUES``, or prefixes of such; "default": all.
        expected: Cues, or prefixes, that the model may use here: logged, never warned of.
        may_warn: Cues, or prefixes, that shall warn where by default there are only notices, such as
            "cell_1_1": inside the image lie the objects, which honest models use.
        on_alert: What a warning does: "warn"; "stop" sets ``trainer.should_stop``; or a function of the
            ``Finding``, called on rank zero alone. Notices do nothing.

    Raises:
        TypeError: Cues are not given as a list of keys.
        ValueError: No such cue, or ``on_alert`` is neither "warn", nor "stop", nor a function.

    Example:
        >>> ShortcutTests(expected=["border"], on_alert="stop").cues
        'default'
    """

    cues: str | Sequence[str] = "default"
    expected: Sequence[str] = ()
    may_warn: Sequence[str] = ()
    on_alert: str | Callable = "warn"

    def __post_init__(self) -> None:
        choose_cues(self.cues)
        choose_cues(self.expected, "expected")
        choose_cues(self.may_warn, "may_warn")
        # Frozen: an import path becomes its function once, here.
        object.__setattr__(self, "on_alert", imported(self.on_alert))
        if not callable(self.on_alert) and self.on_alert not in ("warn", "stop"):
            raise ValueError(
                f"on_alert: got {self.on_alert!r}; give 'warn', 'stop' or a function of the finding."
            )

    @property
    def chosen(self) -> dict[str, Cue]:
        """The rows of ``CUES`` that are tested."""
        return choose_cues(self.cues)


@dataclass(frozen=True)
class Settings:
    """The arguments of ``CAMMonitor``, which documents them.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument's value is outside what the monitor states.
    """

    probe: int | Sequence[int] | Probe | Sampler
    method: str | Callable
    target: int | str | Callable
    target_layer: str | Sequence[str] | None
    task: str
    network: str | Callable | None
    every_n_epochs: int
    every_n_validations: int
    class_names: Sequence[str] | None
    normalization: str | tuple[Sequence[float], Sequence[float]] | None
    inputs: Inputs
    style: Style
    shortcuts: ShortcutTests | bool | None
    max_batch: int | None
    max_overhead: float | str | None
    scalars: str | Sequence[str]
    persist_probe: bool
    report: bool
    log_dir: str | Path | None
    verbose: bool
    name: str
    config: ExplainConfig = field(init=False)
    cues: dict[str, Cue] = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.probe, Probe):
            sampler_for(self.probe)
        check_task(self.task)
        for argument in ("every_n_epochs", "every_n_validations"):
            check_whole(argument, getattr(self, argument), 1)
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"name: got {self.name!r}; give a prefix for tags and keys, such as 'cam'.")
        if self.log_dir is not None and (not isinstance(self.log_dir, str | Path) or not str(self.log_dir)):
            raise TypeError(
                f"log_dir: got {self.log_dir!r}; give a folder, or a URL that fsspec knows, such as "
                "'s3://bucket/runs'."
            )
        for argument in ("persist_probe", "report", "verbose"):
            _check_kind(argument, getattr(self, argument), bool, "True or False")
        _check_kind("inputs", self.inputs, Inputs, "Inputs(images=..., labels=...)")
        _check_kind("style", self.style, Style, "Style(colormap=...)")
        if isinstance(self.method, list | tuple):
            raise TypeError(
                f"method: got {self.method!r}; a monitor has one method, several monitors have several names."
            )
        if not self.reads_normalization:
            check_normalization(self.normalization)
        budget_of(self.max_overhead)
        tests = ShortcutTests() if self.shortcuts is True else self.shortcuts or None
        if tests is not None:
            _check_kind(
                "shortcuts", tests, ShortcutTests, "ShortcutTests(expected=...), or None for no tests"
            )
        # Frozen: plain forms, and what follows from them, are set once, here.
        names = check_class_names(self.class_names)
        probe = tuple(self.probe) if isinstance(self.probe, Sequence) else self.probe
        config = ExplainConfig(
            method=imported(self.method),
            target=imported(self.target),
            target_layer=self.target_layer,
            model=ModelConfig(self.network, self.inputs.scores, self.max_batch),
            confusions=self.style.shown,
        )
        known = names or getattr(self.probe, "class_names", None)
        if known is not None:
            config.named(known)  # else it is looked up once the class names are known
        cues = {} if tests is None else tests.chosen
        plain = {
            "probe": probe, "class_names": names, "shortcuts": tests, "config": config, "cues": cues,
            "scalars": check_scalars(self.scalars),
        }  # fmt: skip
        for argument, value in plain.items():
            object.__setattr__(self, argument, value)

    def schedule(self) -> Schedule:
        """A new one, for one fit."""
        return Schedule(self.every_n_epochs, self.every_n_validations, self.max_overhead)

    @property
    def reads_normalization(self) -> bool:
        """Whether the dataset's transforms say how to undo the normalization."""
        return self.normalization == "auto"

    @property
    def known_normalization(self) -> Normalization | None:
        """What the user said of it."""
        return None if self.reads_normalization else check_normalization(self.normalization)

    @property
    def names(self) -> tuple[str, ...] | None:
        """One name per class, as the user gave them."""
        return check_class_names(self.class_names)

    @property
    def tests(self) -> ShortcutTests | None:
        """The shortcut tests; None where there are none."""
        return self.shortcuts if isinstance(self.shortcuts, ShortcutTests) else None


def _check_kind(argument: str, value: Any, kind: type, remedy: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{argument}: got {value!r}; give {remedy}.")
