"""A run's metrics as they come: one JSON line each, and TensorBoard events beside them."""

import json
import time
from pathlib import Path
from typing import IO

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from cnnlab.files import Format, named, write_whole

_NAME = "metrics.jsonl"
_PATIENCE = 30  # seconds until TensorBoard shows what was written
_LINES = Format(
    {
        "required": ["step"],
        "properties": {
            "step": {"type": "integer", "minimum": 0},
            "epoch": {"type": "number", "exclusiveMinimum": 0},
            "images_per_second": {"type": "number", "exclusiveMinimum": 0},
        },
        "additionalProperties": {"type": "number"},
    },
    finite=False,  # a loss may be none
)


def read(folder: Path) -> list[dict[str, float]]:
    """What the journal of the run in `folder` says; nothing where there is none yet.

    A last line that a kill cut short is left out.

    Raises:
        BadFile: a line is none of a journal's; names it.
    """
    path = folder / _NAME
    return _LINES.read_lines(path, cut_short=True) if path.exists() else []


class Journal:
    """Appends to `metrics.jsonl` and `tensorboard/` in a run's folder.

    Opened at the step a run begins or resumes from: lines of later steps, written by an attempt
    that was cut off before its next checkpoint, are dropped, since those steps are run again.

    Attributes:
        lines: all there are, as dicts.
    """

    def __init__(self, folder: Path, step: int):
        self._path = path = folder / _NAME
        self.lines = [line for line in read(folder) if line["step"] <= step]
        write_whole(path, "".join(f"{json.dumps(line)}\n" for line in self.lines))
        self._file: IO[str] = path.open("a")
        self._board = _Board(folder / "tensorboard", step + 1)

    def write(self, step: int, **values: float) -> None:
        """One line of named values at `step`."""
        self.lines.append({"step": step, **values})
        with named(self._path):
            self._file.write(json.dumps(self.lines[-1]) + "\n")
            self._file.flush()
        self._board.write(step, values)

    def close(self) -> None:
        """Flush both."""
        with named(self._path):
            self._file.close()
        self._board.close()


class _Board:
    """TensorBoard's events, written by this thread, which so is told of what fails."""

    def __init__(self, folder: Path, restart: int):
        """Of what there is in `folder`, TensorBoard drops all from the step `restart` on."""
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._events = EventsWriter(str(folder / "events"))
        began = SessionLog(status=SessionLog.START)
        self._events.write_event(Event(wall_time=time.time(), step=restart, session_log=began))
        self._flushed = time.monotonic()

    def write(self, step: int, values: dict[str, float]) -> None:
        events = [
            Event(wall_time=time.time(), step=step, summary=scalar(name, value))
            for name, value in values.items()
        ]
        with named(self._folder):
            for event in events:
                self._events.write_event(event)
            if time.monotonic() - self._flushed > _PATIENCE:  # it waits for the disk
                self._events.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        with named(self._folder):
            self._events.close()
