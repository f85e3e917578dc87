"""Error and loss on a split, every image counted once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from cnnlab.data import Images
from cnnlab.training.placement import in_shares, place


class Score(NamedTuple):
    """error: percent of images whose largest logit is another class; loss: nats per image."""

    error: float
    loss: float


def evaluate(
    eval_step: Callable[[Any, Any, Any], tuple[Array, Array]],
    variables: Any,
    split: Images,
    batch_size: int,
) -> Score:
    """Score `variables` on `split` in batches of one shape, shared out among the devices.

    `batch_size` is rounded up to shares. The last batch is filled up with its own images again, and
    what those give is left out.
    """
    batch_size += -batch_size % jax.device_count()
    losses, misses = [], []
    for start in range(0, len(split.labels), batch_size):
        images = split.images[start : start + batch_size]
        labels = split.labels[start : start + batch_size]
        filled = np.arange(batch_size) % len(labels) if len(labels) < batch_size else slice(None)
        batch = (place(array[filled], in_shares()) for array in (images, labels))
        loss, missed = eval_step(variables, *batch)
        losses.append(np.asarray(loss, np.float64)[: len(labels)])
        misses.append(np.asarray(missed)[: len(labels)])
    return Score(
        error=100 * float(np.concatenate(misses).mean()),
        loss=float(np.concatenate(losses).mean()),
    )
