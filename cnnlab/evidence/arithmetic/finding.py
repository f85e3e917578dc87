"""What a check of an arithmetic claim finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Outcome = Literal["agrees", "slip", "disagrees"]

TOLERANCE = 1e-4
"""Differences below are rounding: float32 against float64, up to 100 products of size 1."""


@dataclass(frozen=True)
class Finding:
    """What a check computed, and how it stands to the note's figure.

    Attributes:
        ours: our figure, printed from what was computed.
        outcome: "agrees"; "slip", the note's figure or convention is wrong, or the reverse of the
            field's, as ``why`` says; or "disagrees", which no claim should ever come to.
        why: of a slip, what is wrong with the note's figure or convention.
    """

    ours: str
    outcome: Outcome
    why: str = ""


def agreement(holds: bool, ours: str) -> Finding:
    """The finding of a check whose figure should be the note's, and is if it `holds`."""
    return Finding(ours, "agrees" if holds else "disagrees")


def slip(holds: bool, ours: str, why: str) -> Finding:
    """The finding of a check that shows a slip of the note's: `why` says it, if it `holds`."""
    return Finding(ours, "slip", why) if holds else Finding(ours, "disagrees")


def largest_difference(ours: ArrayLike, reference: ArrayLike) -> float:
    """Largest absolute difference of two arrays of one shape.

    Raises:
        ValueError: the shapes differ; nothing is ever broadcast.
    """
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
    if ours.shape != reference.shape:
        raise ValueError(f"shapes differ: ours {ours.shape}, reference {reference.shape}")
    return float(np.max(np.abs(ours - reference)))


def volume(shape: tuple[int, ...]) -> str:
    """A shape as the notes write it, e.g. 32x32x10."""
    return "x".join(map(str, shape))
