"""What is left of a run when it is over: one record, written whole or not at all."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from cnnlab.errors import Mistake
from cnnlab.files import Format, strict, write_whole

METRICS = tuple(
    f"{split}_{what}" for split in ("test", "validation", "train") for what in ("error", "loss")
)

_COUNT = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}

FINGERPRINT = {"type": "string", "pattern": "^[0-9a-f]{16}$"}
"""A data set's, in a schema."""

_CODE = {"commit": {"type": ["string", "null"]}, "dirty": {"type": ["boolean", "null"]}}
_ENVIRONMENT = {
    **_CODE,
    "device": _TEXT,
    "jax": _TEXT,
    # What is older than the choice of convolutions does not name them.
    "convolutions": {"type": "string", "pattern": "^(xla|onednn [^ ]+)$"},
    "begun": strict(_CODE),
    "dataset": FINGERPRINT,
}
ENVIRONMENT = Format({"properties": _ENVIRONMENT})
"""`environment.json` of a run's folder, whatever facts it was written with."""

_RECORD = {
    "arm": _TEXT,
    "seed": {"type": "integer"},
    "config": {"type": "object"},
    "dataset": {
        "type": "object",
        "required": ["name", "title", "version", "fingerprint"],
        "properties": {"fingerprint": FINGERPRINT},
        "additionalProperties": _TEXT,
    },
    "network": {
        "type": "object",
        "required": ["weights", "macs", "activations", "receptive_field"],
        "properties": {
            "weights": _COUNT,
            "receptive_field": {
                **_COUNT,
                "type": ["integer", "string", "null"],
                "pattern": "^all$",
            },
        },
        "additionalProperties": {**_COUNT, "type": ["integer", "null"]},
    },
    "environment": {**strict(_ENVIRONMENT), "required": [*_CODE, "device", "jax"]},
    "steps": _COUNT,
    "metrics": {
        "type": "object",
        "required": list(METRICS),
        "patternProperties": {
            "_error$": {"type": "number", "minimum": 0, "maximum": 100},
            "_(loss|change)$": {"type": "number", "minimum": 0},
            "_gap$": {"type": "number", "minimum": -200, "maximum": 200},
        },
        "additionalProperties": {"type": "number"},
    },
    "parameters": {"type": "string", "pattern": "^([0-9a-f]{64})?$"},
}
RECORD = Format({**strict(_RECORD), "additionalProperties": False})
"""A record's line: types, and ranges of the numbers (percent; a gap is between such)."""


class UnusableFolder(Mistake):
    """A run's folder cannot be written, has no room, or holds no run or another."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One finished run. Nothing in it depends on when, or in how many attempts, it was run.

    But for attempts by other code or elsewhere, which `environment` tells.

    Attributes:
        arm: the ablation's name for the variant.
        seed: what everything random in the run was derived from.
        config: the whole recipe.
        dataset: name, title, version and fingerprint.
        network: weights, macs, activations and receptive_field of the trained network: pixels that
            a neuron of its last map sees, or "all" of the image. None is "unknown".
        environment: commit, versions, device; those that the run was begun with, as `begun`, if
            they were others.
        steps: optimiser steps taken.
        metrics: test_error, test_loss, validation_error, validation_loss (percent; nats per
            image), train_error, train_loss over the last epoch's augmented batches, and those of
            the recipe's probe.
        parameters: digest of the final variables; equal if and only if bit-equal. Empty where the
            run diverged, and its metrics are those of guessing.
    """

    arm: str
    seed: int
    config: dict[str, Any]
    dataset: dict[str, Any]
    network: dict[str, int | str | None]
    environment: dict[str, Any]
    steps: int
    metrics: dict[str, float]
    parameters: str

    @property
    def diverged(self) -> bool:
        """Whether training ended in no number, and the metrics are those of guessing."""
        return not self.parameters

    def to_json(self) -> str:
        """One line of JSON with sorted keys."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> "Record":
        """The record that `to_json` wrote.

        Raises:
            BadFile: `line` is not such a record, or a number in it cannot be.
        """
        return cls(**RECORD.parse(line, "a record"))

    def write(self, path: Path) -> None:
        """Write to `path`, whole or not at all."""
        write_whole(path, self.to_json() + "\n")

    @classmethod
    def read(cls, path: Path) -> "Record":
        """The record at `path`.

        Raises:
            BadFile: as `from_json`; names the file.
        """
        return cls(**RECORD.read(path))

    @classmethod
    def read_lines(cls, path: Path) -> list["Record"]:
        """The records at `path`, one a line.

        Raises:
            BadFile: as `from_json`; names the file and the line.
        """
        return [cls(**found) for found in RECORD.read_lines(path)]
