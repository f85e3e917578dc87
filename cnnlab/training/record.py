"""What is left of a run when it is over: one record, written whole or not at all."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from cnnlab.errors import Mistake

METRICS = tuple(
    f"{split}_{what}" for split in ("test", "validation", "train") for what in ("error", "loss")
)


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
            ValueError: `line` is not such a record.
        """
        try:
            return cls(**json.loads(line))
        except TypeError as error:
            raise ValueError(f"not a record: {error}") from error

    def write(self, path: Path) -> None:
        """Write to `path` by rename."""
        write_whole(path, self.to_json() + "\n")

    @classmethod
    def read(cls, path: Path) -> "Record":
        """The record at `path`."""
        return cls.from_json(path.read_text())


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader, or a kill, finds all of it or nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
