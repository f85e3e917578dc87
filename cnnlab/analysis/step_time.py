"""How long a training step should take: a roofline for the chip, and all-reduces between chips.

A prediction from published figures, not a measurement. Times in seconds, sizes in bytes.
"""

import math
from typing import NamedTuple

from cnnlab.analysis.chips import Chip
from cnnlab.analysis.work import Work
from cnnlab.errors import unknown

BACKWARD = 2 / 3
"""Share of a step's arithmetic that is the backward pass: two products for the forward's one."""


class Case(NamedTuple):
    """What is supposed of the software.

    Attributes:
        efficiency: the fraction of the roofline that is reached.
        traffic: the count of `Work` that is memory's: "unfused", "fused" or "least".
        hidden: fraction of the computation behind which the gradient's all-reduce can hide.
        waits: whether sums over the batch are over all chips' images, and waited for.
    """

    efficiency: float
    traffic: str = "fused"
    hidden: float = BACKWARD
    waits: bool = True


def roofline_seconds(chip: Chip, work: Work, dtype: str, traffic: str) -> float:
    """The longer of arithmetic at the chip's peak and traffic at its memory's bandwidth.

    Williams et al. 2009, doi 10.1145/1498765.1498785.

    Raises:
        ValueError: the chip has no peak for `dtype`, or the work is not known.
    """
    if dtype not in chip.peak:
        raise ValueError(unknown(f"dtype on {chip.name}", dtype, chip.peak))
    return max(work.known("flops") / chip.peak[dtype], work.known(traffic) / chip.bandwidth)


def ring_seconds(size: float, chips: int, bandwidth: float) -> float:
    """All-reduce round a ring: each chip sends 2 (n - 1) / n of `size`, however many they are.

    Patarasuk and Yuan 2009, doi 10.1016/j.jpdc.2008.09.002.

    Args:
        size: bytes on each chip.
        chips: n.
        bandwidth: out of one chip, one way.
    """
    return 2 * (chips - 1) / chips * size / bandwidth


def all_reduce_seconds(chip: Chip, size: float, chips: int) -> float:
    """Sum `size` bytes over chips: inside each group over its links, between groups over a network.

    Inside a group each chip ends with one share of the sum, which it sums with its fellows in the
    other groups, and gives back. The latency is that of the shortest way there and back, up and
    down a tree or round a torus by half of each ring.

    Raises:
        ValueError: more chips than a group and no whole number of groups, or no network between
            them is known.
    """
    inside = min(chips, chip.group)
    groups = chips // inside
    seconds = ring_seconds(size, inside, chip.link) + _hops(inside, chip.axes) * chip.hop
    if chips == inside:
        return seconds
    if chip.network is None or chips % inside:
        raise ValueError(f"{chips} chips: not a group of {chip.group} {chip.name}, nor several")
    seconds += ring_seconds(size / inside, groups, chip.network)
    return seconds + _hops(groups, 0) * chip.network_hop


def _hops(chips: int, axes: int) -> float:
    if chips == 1:
        return 0
    return axes * chips ** (1 / axes) if axes else 2 * math.log2(chips)


def step_seconds(chip: Chip, work: Work, chips: int, dtype: str, case: Case) -> float:
    """One step on `chips`, each with `work`: computation, waits, and what is not hidden behind it.

    Raises:
        ValueError: the chip has no peak for `dtype`, there are more of them than can be joined, or
            the work is not known.
    """
    compute = roofline_seconds(chip, work, dtype, case.traffic) / case.efficiency
    if chips == 1:
        return compute
    gradient = all_reduce_seconds(chip, work.gradient, chips)
    waits = work.known("waits") * all_reduce_seconds(chip, 0, chips) if case.waits else 0
    return compute + waits + max(0, gradient - case.hidden * compute)


def images_per_second(chip: Chip, work: Work, chips: int, dtype: str, case: Case) -> float:
    """Of all chips together; raises as `step_seconds`."""
    return chips * work.images / step_seconds(chip, work, chips, dtype, case)
