"""A run's metrics as they come: one JSON line each, and TensorBoard events beside them."""

import json
from pathlib import Path

from tensorboardX import SummaryWriter

from cnnlab.training.record import write_whole

_NAME = "metrics.jsonl"


def read(folder: Path) -> list[dict[str, float]]:
    """What the journal of the run in `folder` says; nothing where there is none yet."""
    return [json.loads(line) for line in _whole_lines(folder / _NAME)]


class Journal:
    """Appends to `metrics.jsonl` and `tensorboard/` in a run's folder.

    Opened at the step a run begins or resumes from: lines of later steps, written by an attempt
    that was cut off before its next checkpoint, are dropped, since those steps are run again.

    Attributes:
        lines: all there are, as dicts.
    """

    def __init__(self, folder: Path, step: int):
        path = folder / _NAME
        self.lines = [line for line in read(folder) if line["step"] <= step]
        write_whole(path, "".join(f"{json.dumps(line)}\n" for line in self.lines))
        self._file = path.open("a")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, **values: float) -> None:
        """One line of named values at `step`."""
        self.lines.append({"step": step, **values})
        self._file.write(json.dumps(self.lines[-1]) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush both."""
        self._file.close()
        self._board.close()


def _whole_lines(path: Path) -> list[str]:
    """The lines of a file, without a last one that a kill cut short."""
    text = path.read_text() if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()
