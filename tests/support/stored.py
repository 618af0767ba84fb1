"""What loggers have stored, read back from their files."""

import io
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from support.files import picture_at


@dataclass
class Stored:
    """What a logger has stored, each by step."""

    scalars: dict[int, float] = field(default_factory=dict)
    pictures: dict[int, Image.Image] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)


def from_events(directory: str) -> Stored:
    accumulator = EventAccumulator(directory, size_guidance={"images": 0, "tensors": 0, "scalars": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    stored = Stored()
    if "cam/border_mass" in tags["scalars"]:
        stored.scalars = {event.step: event.value for event in accumulator.Scalars("cam/border_mass")}
    stored.pictures = {
        event.step: Image.open(io.BytesIO(event.encoded_image_string))
        for event in accumulator.Images("cam/overlay")
    }
    texts = accumulator.Tensors("cam/findings/text_summary")
    stored.texts = {event.step: event.tensor_proto.string_val[0].decode() for event in texts}
    return stored


def wandb_records(content: bytes) -> Iterator[Any]:
    """Records of a run's file, a log in LevelDB's form: blocks of 32 KiB, and a record may go on in the next."""
    from wandb.proto import wandb_internal_pb2

    place, record = 7, b""
    while place + 7 <= len(content):
        room = 32768 - place % 32768
        if room < 7:
            place += room
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if place > len(content):
            return  # not yet written to its end
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def wandb_rows(directory: Path) -> list[dict[str, Any]]:
    """Rows of a run's history. Its process may still write for a moment after the run is finished."""
    (path,) = directory.glob("wandb/offline-run-*/*.wandb")
    until = perf_counter() + 30
    while True:
        records = list(wandb_records(path.read_bytes()))
        kinds = [record.WhichOneof("record_type") for record in records]
        if "exit" in kinds:
            break
        assert perf_counter() < until, "the run was not written to its end"
        sleep(0.05)
    histories = [
        record.history.item for record, kind in zip(records, kinds, strict=True) if kind == "history"
    ]
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
        for items in histories
    ]


def from_wandb(directory: Path) -> Stored:
    stored = Stored()
    (files,) = directory.glob("wandb/offline-run-*/files")
    for row in wandb_rows(directory):
        step = row["trainer/global_step"]
        if "cam/border_mass" in row:
            stored.scalars[step] = row["cam/border_mass"]
        if "cam/overlay/filenames" in row:
            assert row["cam/overlay/captions"] == [f"cam/overlay · step {step}"]
            stored.pictures[step] = picture_at(files / row["cam/overlay/filenames"][0])
        if "cam/findings/path" in row:
            ((stored.texts[step],),) = json.loads((files / row["cam/findings/path"]).read_text())["data"]
    return stored
