"""Error and loss on a split, every image counted once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from cnnlab.data import Images, Records
from cnnlab.training.placement import own_rows, share_out


class Score(NamedTuple):
    """error: percent of images whose largest logit is another class; loss: nats per image."""

    error: float
    loss: float


def evaluate(
    eval_step: Callable[[Any, Any, Any], tuple[Array, Array]],
    variables: Any,
    split: Images | Records,
    batch_size: int,
) -> Score:
    """Score `variables` on `split` in batches of one shape, shared out among the devices.

    `batch_size` is rounded up to shares. The last batch is filled up with its own images again, and
    what those give is left out.
    """
    batch_size += -batch_size % jax.device_count()
    scored: list[tuple[Array, Array]] = []
    for batch in split.batches(batch_size, own_rows(batch_size)):
        jax.block_until_ready(scored[-2:-1])  # two at work, if asynchronous
        scored.append(eval_step(variables, *(share_out(rows, batch_size) for rows in batch)))
    losses, misses = (np.concatenate(parts)[: split.number] for parts in zip(*scored, strict=True))
    return Score(error=100 * float(misses.mean()), loss=float(losses.astype(np.float64).mean()))
