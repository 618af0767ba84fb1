"""The monitor in LightningCLI and in the Trainers of both namespaces."""

import importlib
import inspect
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytorch_lightning
import yaml
from packaging.version import Version
from support.modules import CLASSES, Classifier, loader
from support.networks import net
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

for package in ("jsonargparse", "lightning"):
    pytest.importorskip(package, reason=f"needs {package}: pip install -e '.[test]'")

import lightning.pytorch

from lightning_cam import CAMMonitor, Evidence, Inputs, ShortcutTests, Style
from lightning_cam.shortcuts.findings import Finding


class Training:
    """A module of either namespace that brings its data."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net(classes=CLASSES)

    forward, training_step = Classifier.forward, Classifier.training_step
    validation_step, configure_optimizers = Classifier.validation_step, Classifier.configure_optimizers

    def train_dataloader(self) -> Any:
        return loader(shuffle=True)

    def val_dataloader(self) -> Any:
        return loader(seed=1)


class OfPytorchLightning(Training, pytorch_lightning.LightningModule):
    pass


class OfLightning(Training, lightning.pytorch.LightningModule):
    pass


MODULES: dict[str, type] = {"pytorch_lightning": OfPytorchLightning, "lightning.pytorch": OfLightning}
NAMESPACES = list(MODULES)


@pytest.fixture(params=NAMESPACES)
def namespace(request: pytest.FixtureRequest) -> str:
    return request.param


def command(
    namespace: str, directory: Path, arguments: list[str], config: dict | None = None, *, run: bool = False
) -> Any:
    """A command line interface as a user's script makes it; ``config`` holds the callbacks, as YAML."""
    directory.mkdir(exist_ok=True)
    if config is not None:
        (directory / "config.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": config}}))
        arguments = [f"--config={directory / 'config.yaml'}", *arguments]
    quiet = {
        "enable_progress_bar": "false",
        "enable_model_summary": "false",
        "enable_checkpointing": "false",
        "logger": "false",
    }
    options = {"default_root_dir": directory / "run", "accelerator": "cpu", "max_epochs": 3, **quiet}
    arguments = [
        *(["fit"] if run else []),
        *(f"--trainer.{name}={value}" for name, value in options.items()),
        *arguments,
    ]
    interface = importlib.import_module(f"{namespace}.cli").LightningCLI
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*switched itself off.*")
        return interface(MODULES[namespace], args=arguments, run=run)


def given(**arguments: Any) -> dict:
    return {"class_path": "lightning_cam.CAMMonitor", "init_args": arguments}


def monitors(made: Any) -> list[CAMMonitor]:
    return [callback for callback in made.trainer.callbacks if isinstance(callback, CAMMonitor)]


# --- forms in which a monitor is given


SHORT = [
    "--trainer.callbacks=CAMMonitor",
    "--trainer.callbacks.every_n_epochs=2",
    "--trainer.callbacks.probe=6",
]
LONG = [SHORT[0].replace("CAMMonitor", "lightning_cam.CAMMonitor"), *SHORT[1:]]
APPENDED = [LONG[0].replace("=", "+=", 1), *LONG[1:]]


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        ([given(probe=6, every_n_epochs=2)], []),
        (given(probe=6, every_n_epochs=2), []),
        (None, SHORT),
        (None, LONG),
        ([given(probe=6, name="first")], APPENDED),
    ],
    ids=["list", "bare", "short name", "full path", "appended"],
)
def test_a_fit_from_the_command_line(
    config: Any, arguments: list[str], namespace: str, tmp_path: Path
) -> None:
    made = command(namespace, tmp_path, arguments, config, run=True)
    monitor = monitors(made)[-1]
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]
    assert len(monitor.probe) == 6
    assert made.trainer.callback_metrics["cam/border_mass"] > 0
    assert [other.name for other in monitors(made)] == (
        ["first", "cam"] if arguments is APPENDED else ["cam"]
    )


def test_the_configuration_in_readme(namespace: str, tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    config = yaml.safe_load(readme.partition("```yaml\n")[2].partition("```")[0])["trainer"]["callbacks"]
    (monitor,) = monitors(command(namespace, tmp_path, [], config))
    assert (monitor.settings.every_n_epochs, monitor.settings.config.method) == (2, "layercam")
    assert monitor.settings.config.target_layer == ["layer3", "layer4"]


SCRIPT = """
from {namespace}.cli import LightningCLI
from {namespace}.demos.boring_classes import BoringModel

LightningCLI(BoringModel)
"""


def test_the_full_path_needs_no_import_in_the_users_script(namespace: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT.format(namespace=namespace))
    run = [sys.executable, tmp_path / "train.py", "fit", *LONG, "--print_config"]
    printed = subprocess.run(run, capture_output=True, text=True, check=True, cwd=tmp_path).stdout  # noqa: S603
    (monitor,) = yaml.safe_load(printed)["trainer"]["callbacks"]
    assert monitor["class_path"] == "lightning_cam.CAMMonitor"
    assert (monitor["init_args"]["probe"], monitor["init_args"]["every_n_epochs"]) == (6, 2)


# --- functions by their import path


def mean_map(evidence: Evidence) -> Tensor:
    return evidence.activations.mean(dim=1)


def first_score(scores: Tensor, labels: Tensor) -> Tensor:
    return scores[:, 0]


def run_net(module: nn.Module, images: Tensor) -> dict:
    return {"logits": module.net(images)}


def logits(output: dict) -> Tensor:
    return output["logits"]


def first(batch: list) -> Tensor:
    return batch[0]


def second(batch: list) -> Tensor:
    return batch[1]


def bright(batch: list) -> Tensor:
    return batch[0][:, 0] > 0.5


def silently(finding: Finding) -> None:
    return None


# By the argument, or by the group that it belongs to.
GROUPS = {
    "scores": "inputs",
    "images": "inputs",
    "labels": "inputs",
    "masks": "inputs",
    "on_alert": "shortcuts",
}
FUNCTIONS = {
    "method": mean_map,
    "target": first_score,
    "network": run_net,
    "scores": logits,
    "images": first,
    "labels": second,
    "masks": bright,
    "on_alert": silently,
}
PATHS = {argument: f"{__name__}.{function.__name__}" for argument, function in FUNCTIONS.items()}


def grouped(arguments: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments: those of a group in a dict of its own."""
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        (found.setdefault(GROUPS[name], {}) if name in GROUPS else found)[name] = value
    return found


def test_functions_by_import_path(namespace: str, tmp_path: Path) -> None:
    made = command(namespace, tmp_path, [], [given(probe=6, **grouped(PATHS))], run=True)
    (monitor,) = monitors(made)
    asked = monitor.settings
    holders = (asked.config.model, asked.config, asked.inputs, asked.tests)
    found = {name: next(getattr(one, name) for one in holders if hasattr(one, name)) for name in FUNCTIONS}
    read = {
        name: PATHS[name] for name in ("network", "scores", "images", "labels", "masks")
    }  # what may be a key, or a submodule's name, is imported where it is used
    assert found == FUNCTIONS | read
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1, 2]
    assert 0 < made.trainer.callback_metrics["cam/mass_inside"] <= 1
    # Beside the run, Lightning keeps the configuration that made it: the functions are written as they were given.
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["trainer"]["callbacks"][0][
        "init_args"
    ]
    given_paths = grouped(PATHS)
    assert {name: kept[name] for name in given_paths if name not in GROUPS.values()} == {
        name: path for name, path in given_paths.items() if name not in GROUPS.values()
    }
    for group in set(GROUPS.values()):
        assert {name: kept[group][name] for name in given_paths[group]} == given_paths[group]


def test_every_argument_with_a_function_is_among_those_above() -> None:
    found = {
        name
        for kind in (CAMMonitor, Inputs, Style, ShortcutTests)
        for name, parameter in inspect.signature(kind).parameters.items()
        if "Callable" in str(parameter.annotation)
    }
    assert found == set(FUNCTIONS)


@pytest.mark.parametrize(
    ("argument", "text", "value"),
    [
        ("target", "1", 1),
        ("target", "predicted", "predicted"),
        ("inputs.images", "0", 0),
        ("inputs.images", "pixels", "pixels"),
        ("inputs.labels", "meta.label", "meta.label"),  # a key with a dot, which is no import path
        ("target_layer", "net.body", "net.body"),
        ("target_layer", "[net.stem,net.body]", ["net.stem", "net.body"]),
        ("class_names", "[top,middle,bottom]", ("top", "middle", "bottom")),
        ("probe", "[3,17]", (3, 17)),
        ("style.colormap", "turbo", "turbo"),
        ("shortcuts", "null", None),
        ("shortcuts", "false", None),
        ("shortcuts.cues", "[colour]", ["colour"]),
    ],
)
def test_values_on_the_command_line_are_read_as_what_they_are(
    argument: str, text: str, value: Any, namespace: str, tmp_path: Path
) -> None:
    (monitor,) = monitors(command(namespace, tmp_path, [*LONG, f"--trainer.callbacks.{argument}={text}"]))
    found: Any = monitor.settings
    if hasattr(found.config, argument):
        found = found.config
    for name in argument.split("."):
        found = getattr(found, name)
    assert found == value


# --- what is printed


def settings(monitor: CAMMonitor) -> dict[str, Any]:
    return vars(monitor.settings)


OTHERS = {
    "probe": 6,
    "style": {"shown": 4, "opacity": 0.3},
    "target_layer": ["net.stem", "net.body"],
    "every_n_epochs": 2,
    "every_n_validations": 3,
    "scalars": ["default", "entropy"],
    "normalization": [[0.5, 0.5, 0.5], [0.2, 0.2, 0.2]],
    "class_names": ["top", "middle", "bottom"],
    "shortcuts": {"cues": ["colour", "border_8"], "expected": ["colour"]},
    "max_overhead": 0.05,
    "persist_probe": False,
    "report": False,
    "name": "mine",
}


TEXTS = {"method": "layercam", "target": "predicted", "on_alert": "stop"}
KEYS = {"images": "image", "labels": 1, "masks": "meta.mask", "scores": "logits"}


def merged(some: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Both, group by group."""
    both = {name: some[name] for name in some if isinstance(some[name], dict) and name in others}
    return {**some, **others, **{name: {**own, **others[name]} for name, own in both.items()}}


def within(some: Any, whole: Any) -> bool:
    """Whether all that ``some`` says stands in ``whole``."""
    if isinstance(some, dict):
        return all(within(value, whole[name]) for name, value in some.items())
    return bool(some == whole)


@pytest.mark.parametrize(
    "arguments",
    [{}, merged(OTHERS, grouped(PATHS)), merged(OTHERS, grouped({**TEXTS, **KEYS}))],
    ids=["defaults", "functions", "names and keys"],
)
def test_the_printed_config_yields_the_same_monitor(
    arguments: dict, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def printed(config: Any) -> Any:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            command(namespace, tmp_path, ["--print_config"], config)
        assert left.value.code == 0
        return yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]

    config = printed([given(**arguments)])
    assert set(config[0]["init_args"]) == set(inspect.signature(CAMMonitor).parameters)
    assert within(arguments, config[0]["init_args"])
    assert printed(config) == config
    (once,) = monitors(command(namespace, tmp_path, [], [given(**arguments)]))
    (again,) = monitors(command(namespace, tmp_path, [], config))
    assert settings(again) == settings(once)


def documented(kind: type) -> dict[str, str]:
    """Each argument and its words in the docstring."""
    arguments = inspect.getdoc(kind).partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.*?)(?=^    \w|\Z)", arguments, flags=re.MULTILINE | re.DOTALL)
    return {name: " ".join(words.split()) for name, words in entries}


@pytest.mark.parametrize(
    ("help_for", "kind", "before"),
    [
        ("--trainer.callbacks.help=lightning_cam.CAMMonitor", CAMMonitor, "trainer.callbacks."),
        ("--trainer.callbacks.help=lightning_cam.CAMMonitor", Inputs, "trainer.callbacks.inputs."),
        ("--trainer.callbacks.help=lightning_cam.CAMMonitor", Style, "trainer.callbacks.style."),
        (
            "--trainer.callbacks.shortcuts.help",
            ShortcutTests,
            "trainer.callbacks.shortcuts.",
        ),
    ],
    ids=["monitor", "inputs", "style", "shortcuts"],
)
def test_help_shows_every_argument_with_its_words(
    help_for: str,
    kind: type,
    before: str,
    namespace: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "10000")  # no word is broken
    chosen = ["--trainer.callbacks.help=lightning_cam.CAMMonitor"] if kind is ShortcutTests else []
    with pytest.raises(SystemExit) as left:
        command(namespace, tmp_path, [*chosen, help_for])
    assert left.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    words = documented(kind)
    assert list(words) == list(inspect.signature(kind).parameters)
    for argument, sentence in words.items():
        if kind is CAMMonitor and argument in ("inputs", "style"):
            assert f"{sentence.rstrip('.')}:" in shown  # the group's headline
            continue
        option = rf"--{re.escape(before + argument)}\+? [^-]*{re.escape(sentence)} \(type: "
        assert re.search(option, shown), argument


# --- wrong values


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_epochs": 0}, "every_n_epochs: got 0; give at least 1"),
        ({"method": "grad-cam"}, r"method: no method 'grad-cam'; did you mean 'gradcam'\?"),
        (
            {"method": f"{__name__}.mean_mop"},
            rf"method: no method '{re.escape(__name__)}\.mean_mop'; there are gradcam",
        ),
        (
            {"target": "lable", "class_names": ["cat", "dog"]},
            r"target: no target 'lable'; did you mean 'label'\?",
        ),
        (
            {"shortcuts": {"on_alert": "shout"}},
            "on_alert: got 'shout'; give 'warn', 'stop' or a function of the finding",
        ),
        ({"normalization": "imgnet"}, "normalization: got 'imgnet'"),
        ({"shortcuts": {"cues": "colour"}}, "cues: got 'colour'; give keys of CUES"),
        ({"max_overhead": 2.0}, "max_overhead: got 2"),
    ],
)
def test_a_wrong_value_says_what_is_wrong(
    arguments: dict, message: str, namespace: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        command(namespace, tmp_path, [], [given(**arguments)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_epochs": "often"}, r'Parser key "every_n_epochs":\s+Expected a <class \'int\'>'),
        ({"every_n_epoch": 2}, "'every_n_epoch' is not accepted"),
    ],
)
def test_a_value_of_another_type_and_an_unknown_name_are_told(
    arguments: dict, message: str, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as left:
        command(namespace, tmp_path, [], [given(**arguments)])
    assert left.value.code == 2
    assert re.search(message, capsys.readouterr().err)


# --- in both Trainers, beside what is of the other namespace


@pytest.mark.parametrize("bare", [False, True])
def test_loggers_and_callbacks_of_the_other_namespace(bare: bool, namespace: str, tmp_path: Path) -> None:
    own: ModuleType = importlib.import_module(namespace)
    other: ModuleType = importlib.import_module(next(name for name in NAMESPACES if name != namespace))
    board, table = (
        other.loggers.TensorBoardLogger(tmp_path, name="board"),
        own.loggers.CSVLogger(tmp_path, name="table"),
    )
    # Before 2.6 a Trainer refused callbacks of the other namespace; the monitor is of both.
    mixed = other if Version(own.__version__) >= Version("2.6") else own
    monitor, stopping = CAMMonitor(probe=6), mixed.callbacks.EarlyStopping(monitor="cam/entropy", patience=9)
    own.seed_everything(0)
    trainer = own.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_epochs=2,
        logger=[board, table],
        callbacks=monitor if bare else [monitor, stopping],
        enable_checkpointing=False,
        enable_progress_bar=False,
        log_every_n_steps=1,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*switched itself off.*")
        trainer.fit(MODULES[namespace]())
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]
    found = EventAccumulator(str(board.log_dir), size_guidance={"images": 0})
    found.Reload()
    assert len(found.Images("cam/overlay")) == len(found.Scalars("cam/border_mass")) == 2
    assert "cam/border_mass" in (Path(table.log_dir) / "metrics.csv").read_text()
    if not bare:
        assert stopping.best_score == min(event.value for event in found.Scalars("cam/entropy"))
